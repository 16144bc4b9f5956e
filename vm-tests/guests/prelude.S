# Shared by all bare-metal guests (.include "prelude.S" first; the guest's code begins at `main`).
#
# Enters 64-bit mode with RAM and the registers at FEC00000h mapped to themselves, records exceptions,
# and offers checks that print what failed. The guest ends with `jmp finish`.
#
# Memory: kernel at 1 MiB; user code (section .user) at 4 MiB to 6 MiB, the only pages for ring 3;
# linear 40000000h to BFFFFFFFh is left to the guest.

.intel_syntax noprefix
.include "macros.S"

.equ PORT_CONSOLE, 0xe9
.equ PORT_EXIT, 0xf4

# Selectors. SYSRET wants 32-bit code, data, 64-bit code in this order.
.equ KCODE, 0x08
.equ KDATA, 0x10
.equ UCODE32, 0x1b
.equ UDATA, 0x23
.equ UCODE, 0x2b
.equ KCODE32, 0x30
.equ KDATA32, 0x38
.equ KCODE16, 0x40
.equ KDATA16, 0x48
.equ TSS_SEL, 0x50
.equ FREE_SEL, 0x60          # from here to FFh free for the guest

# Vectors.
.equ V_DE, 0
.equ V_DB, 1
.equ V_BP, 3
.equ V_OF, 4
.equ V_BR, 5
.equ V_UD, 6
.equ V_NM, 7
.equ V_DF, 8
.equ V_TS, 10
.equ V_NP, 11
.equ V_SS, 12
.equ V_GP, 13
.equ V_PF, 14
.equ V_MF, 16
.equ V_AC, 17

# Page table bits.
.equ P_, 1
.equ RW, 2
.equ US, 4
.equ A_, 0x20
.equ D_, 0x40
.equ PSZ, 0x80
.equ G_, 0x100

# The frame that handlers see.
.equ F_R15, 0
.equ F_RBX, 11*8
.equ F_RDX, 12*8
.equ F_RCX, 13*8
.equ F_RAX, 14*8
.equ F_VEC, 15*8
.equ F_ERR, 16*8
.equ F_RIP, 17*8
.equ F_CS, 18*8
.equ F_FLAGS, 19*8
.equ F_RSP, 20*8
.equ F_SS, 21*8

.equ USER_STACK, 0x5ff000

.text
.code32
.balign 4
        .long 0x1badb002, 0, -0x1badb002
.globl _start
_start:
        cli
        mov     esp, offset stack_top
        mov     [boot_info], ebx
        mov     al, 0xff                        # no interrupts of whatever ran before
        out     0x21, al
        out     0xa1, al
        # Tables: 2 MiB pages for the first GiB (RAM) and the fourth (registers).
        mov     dword ptr [pml4], offset pdpt + 7
        mov     dword ptr [pdpt], offset pd_low + 7
        mov     dword ptr [pdpt + 24], offset pd_high + 3
        xor     ecx, ecx
1:      mov     eax, ecx
        shl     eax, 21
        or      eax, P_|RW|PSZ
        mov     [pd_low + ecx*8], eax
        or      eax, 0xc0000000
        mov     [pd_high + ecx*8], eax
        inc     ecx
        cmp     ecx, 512
        jne     1b
        or      dword ptr [pd_low + 2*8], US
        call    enter_long
.code64
        call    idt_init
        call    main
        jmp     finish

# Called in 32-bit mode, returns in 64-bit mode to the same address. Every vCPU comes through here.
.code32
enter_long:
        pop     esi
        mov     eax, cr4
        or      eax, 0x620                      # PAE, OSFXSR, OSXMMEXCPT
        mov     cr4, eax
        mov     eax, offset pml4
        mov     cr3, eax
        mov     ecx, 0xc0000080
        rdmsr
        or      eax, 0x900                      # LME, NXE
        wrmsr
        mov     eax, 0x80010033                 # PG, WP, NE, ET, MP, PE
        mov     cr0, eax
        lgdt    [gdt_pointer]
        .byte   0xea                            # jmp KCODE:1f
        .long   1f
        .word   KCODE
.code64
1:      mov     eax, KDATA
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        xor     eax, eax
        mov     fs, eax
        mov     gs, eax
        mov     esp, esp
        mov     esi, esi
        jmp     rsi

idt_init:
        xor     ecx, ecx
        mov     rdi, offset idt
1:      mov     eax, ecx
        shl     eax, 4
        add     eax, offset stubs
        mov     [rdi], ax
        mov     word ptr [rdi+2], KCODE
        mov     word ptr [rdi+4], 0x8e00
        shr     eax, 16
        mov     [rdi+6], ax
        mov     qword ptr [rdi+8], 0
        add     rdi, 16
        inc     ecx
        cmp     ecx, 256
        jne     1b
        mov     byte ptr [idt + 0x80*16 + 5], 0xee      # INT 80h from ring 3
        mov     eax, offset tss
        mov     [gdt + TSS_SEL + 2], ax
        shr     eax, 16
        mov     [gdt + TSS_SEL + 4], al
        mov     [gdt + TSS_SEL + 7], ah
        lidt    [idt_pointer]
        mov     eax, TSS_SEL
        ltr     ax
        ret

# The 256 entries, 16 bytes each: vector and error code on the stack.
.balign 16
stubs:
.set vec, 0
.rept 256
        .balign 16
        .if (vec == 8) || ((vec >= 10) && (vec <= 14)) || (vec == 17) || (vec == 21) || (vec == 29) || (vec == 30)
        .else
        push    0
        .endif
        .byte   0x68
        .long   vec
        jmp     on_event
        .set vec, vec + 1
.endr

on_event:
        push    rax
        push    rcx
        push    rdx
        push    rbx
        push    rbp
        push    rsi
        push    rdi
        push    r8
        push    r9
        push    r10
        push    r11
        push    r12
        push    r13
        push    r14
        push    r15
        cld
        mov     rdi, rsp
        mov     rax, [rsp + F_VEC]
        mov     rax, [hooks + rax*8]
        test    rax, rax
        jz      1f
        call    rax
        jmp     leave_event
1:      mov     rax, [rdi + F_VEC]
        mov     [ex_vec], rax
        mov     rax, [rdi + F_ERR]
        mov     [ex_err], rax
        mov     rax, [rdi + F_RIP]
        mov     [ex_rip], rax
        mov     rax, [rdi + F_CS]
        mov     [ex_cs], rax
        mov     rax, [rdi + F_FLAGS]
        mov     [ex_flags], rax
        mov     rax, [rdi + F_RSP]
        mov     [ex_rsp], rax
        mov     rax, [rdi + F_SS]
        mov     [ex_ss], rax
        mov     [ex_frame], rdi
        mov     rax, cr2
        mov     [ex_cr2], rax
        mov     rax, dr6
        mov     [ex_dr6], rax
        inc     qword ptr [ex_count]
        mov     rax, [resume_rip]
        test    rax, rax
        jz      unexpected
        mov     qword ptr [resume_rip], 0
        mov     [rdi + F_RIP], rax
        mov     qword ptr [rdi + F_CS], KCODE
        mov     rax, [resume_flags]
        mov     [rdi + F_FLAGS], rax
        mov     rax, [resume_rsp]
        mov     [rdi + F_RSP], rax
        mov     qword ptr [rdi + F_SS], KDATA
leave_event:
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rdi
        pop     rsi
        pop     rbp
        pop     rbx
        pop     rdx
        pop     rcx
        pop     rax
        add     rsp, 16
        iretq

unexpected:
        mov     al, 3
        inc     dword ptr [unexpected_count]
        cmp     dword ptr [unexpected_count], 1
        jne     1f                              # one in the midst of telling of another
        SAY_ "UNEXPECTED event: vector, error code, RIP, CR2, RSP: "
        mov     rax, [ex_vec]
        call    put_hex
        mov     rax, [ex_err]
        call    put_hex
        mov     rax, [ex_rip]
        call    put_hex
        mov     rax, [ex_cr2]
        call    put_hex
        mov     rax, [ex_rsp]
        call    put_hex
        call    put_newline
        mov     al, 2
1:      out     PORT_EXIT, al
        cli
        hlt

# Ends the guest: exit value 0 if all checks passed.
finish:
        mov     rax, [checks]
        call    put_hex
        SAY_ "checks, failed: "
        mov     rax, [failures]
        call    put_hex
        call    put_newline
        xor     eax, eax
        cmp     qword ptr [failures], 0
        setne   al
        out     PORT_EXIT, al
        cli
        hlt

# Text. put_text: RSI points to a zero-terminated string. All of these keep every register.
put_text:
        push    rax
        push    rsi
1:      mov     al, [rsi]
        inc     rsi
        test    al, al
        jz      2f
        out     PORT_CONSOLE, al
        jmp     1b
2:      pop     rsi
        pop     rax
        ret

put_newline:
        push    rax
        mov     al, 10
        out     PORT_CONSOLE, al
        pop     rax
        ret

# RAX in hexadecimal, and a space.
put_hex:
        push    rax
        push    rcx
        push    rdx
        mov     rdx, rax
        mov     ecx, 60
1:      mov     rax, rdx
        shr     rax, cl
        jnz     2f
        sub     ecx, 4
        jnz     1b
2:      mov     rax, rdx
        shr     rax, cl
        and     eax, 15
        cmp     al, 10
        jb      3f
        add     al, 'a' - '0' - 10
3:      add     al, '0'
        out     PORT_CONSOLE, al
        sub     ecx, 4
        jns     2b
        mov     al, ' '
        out     PORT_CONSOLE, al
        pop     rdx
        pop     rcx
        pop     rax
        ret

# check_equal(name, got, want) on the stack; keeps every register and the flags.
check_equal:
        pushfq
        push    rax
        push    rsi
        inc     qword ptr [checks]
        mov     rax, [rsp + 40]                 # got
        cmp     rax, [rsp + 32]                 # want
        je      1f
        inc     qword ptr [failures]
        SAY_ "FAIL "
        mov     rsi, [rsp + 48]
        call    put_text
        SAY_ ": got "
        call    put_hex
        SAY_ "want "
        mov     rax, [rsp + 32]
        call    put_hex
        call    put_newline
1:      pop     rsi
        pop     rax
        popfq
        ret     24

# check_event(name, vector, error code, RIP) on the stack: exactly that exception came; keeps all registers.
check_event:
        pushfq
        push    rax
        push    rsi
        mov     qword ptr [resume_rip], 0
        inc     qword ptr [checks]
        cmp     qword ptr [ex_count], 1
        jne     2f
        mov     rax, [rsp + 48]
        cmp     [ex_vec], rax
        jne     2f
        mov     rax, [rsp + 40]
        cmp     [ex_err], rax
        jne     2f
        mov     rax, [rsp + 32]
        cmp     [ex_rip], rax
        je      1f
2:      inc     qword ptr [failures]
        SAY_ "FAIL "
        mov     rsi, [rsp + 56]
        call    put_text
        SAY_ ": events "
        mov     rax, [ex_count]
        call    put_hex
        cmp     qword ptr [ex_count], 0
        je      3f
        SAY_ "the last with vector, error code, RIP, CR2: "
        mov     rax, [ex_vec]
        call    put_hex
        mov     rax, [ex_err]
        call    put_hex
        mov     rax, [ex_rip]
        call    put_hex
        mov     rax, [ex_cr2]
        call    put_hex
3:      SAY_ "; want one with "
        mov     rax, [rsp + 48]
        call    put_hex
        mov     rax, [rsp + 40]
        call    put_hex
        mov     rax, [rsp + 32]
        call    put_hex
        call    put_newline
1:      pop     rsi
        pop     rax
        popfq
        ret     32

# Goes to ring 3 at RDI, with the user stack and all other registers kept. What comes back is an event.
enter_user:
        push    UDATA
        push    USER_STACK
        push    0x3002                          # IOPL 3
        push    UCODE
        push    rdi
        iretq

.data
.balign 16
gdt:    .quad   0
        .quad   0x00af9b000000ffff              # 08 64-bit code
        .quad   0x00cf93000000ffff              # 10 data
        .quad   0x00cffb000000ffff              # 18 32-bit code, ring 3
        .quad   0x00cff3000000ffff              # 20 data, ring 3
        .quad   0x00affb000000ffff              # 28 64-bit code, ring 3
        .quad   0x00cf9b000000ffff              # 30 32-bit code
        .quad   0x00cf93000000ffff              # 38 data
        .quad   0x00009b000000ffff              # 40 16-bit code
        .quad   0x000093000000ffff              # 48 16-bit data
        .quad   0x0000890000000067, 0           # 50 64-bit TSS
        .fill   32, 8, 0                        # 60 free
gdt_end:
        .balign 8
        .word   0
gdt_pointer:
        .word   gdt_end - gdt - 1
        .quad   gdt
        .balign 8
        .word   0
idt_pointer:
        .word   4095
        .quad   idt
        .balign 16
tss:    .long   0
        .quad   stack_ring0_top, 0, 0           # RSP0 to RSP2
        .quad   0
        .quad   stack_ist1_top, stack_ist2_top, 0, 0, 0, 0, 0
        .quad   0
        .word   0, 104                          # no I/O map

.bss
.balign 4096
pml4:   .skip   4096
pdpt:   .skip   4096
pd_low: .skip   4096
pd_high: .skip  4096
idt:    .skip   4096
        .skip   16384
stack_top:
        .skip   4096
stack_ring0_top:
        .skip   4096
stack_ist1_top:
        .skip   4096
stack_ist2_top:
hooks:  .skip   256*8                           # called with RDI = frame instead of recording
boot_info: .skip 8
checks: .skip   8
failures: .skip 8
resume_rip: .skip 8
resume_rsp: .skip 8
resume_flags: .skip 8
ex_count: .skip 8
ex_vec: .skip   8
ex_err: .skip   8
ex_rip: .skip   8
ex_cs:  .skip   8
ex_flags: .skip 8
ex_rsp: .skip   8
ex_ss:  .skip   8
ex_cr2: .skip   8
ex_dr6: .skip   8
ex_frame: .skip 8
unexpected_count: .skip 8
check_got: .skip 8
check_value: .skip 8

.section .user, "awx", @progbits
.balign 4096
user_page:
.text
.code64

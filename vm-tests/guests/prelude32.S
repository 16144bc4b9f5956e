# For guests that work outside 64-bit mode; included behind prelude.S. `call to_32` in 64-bit mode returns in flat 32-bit
# protected mode without paging, `call to_64` goes back. In between there are CHECK32, FAULT32 and TRAP32.

.equ TSS32, 0xf0                # 32-bit TSS, used for its ESP0
.equ UCODE32_, 0x1b
.equ REAL, 0x9000               # where code for real mode is copied to

# Checks that a 32-bit value is another; any operands but ESP-relative ones.
.macro CHECK32 name, got, want:vararg
        .pushsection .rodata
.Lname\@: .asciz "\name"
        .popsection
        mov     [check_got], eax
        mov     eax, \got
        mov     [check_value], eax
        mov     eax, [check_got]
        push    offset .Lname\@
        push    dword ptr [check_value]
        push    \want
        call    check_equal32
.endm

.macro EXPECT32 behind
        mov     dword ptr [ex_count], 0
        mov     [resume_rsp], esp
        mov     dword ptr [resume_rip], offset \behind
.endm

.macro FAULT32 name, vector, error, instruction:vararg
        EXPECT32 .Lbehind\@
.Lat\@: \instruction
.Lbehind\@:
        WANT32  "\name", \vector, \error, .Lat\@
.endm

.macro TRAP32 name, vector, error, instruction:vararg
        EXPECT32 .Lbehind\@
        \instruction
.Lbehind\@:
        WANT32  "\name", \vector, \error, .Lbehind\@
.endm

.macro NOFAULT32 name, instruction:vararg
        EXPECT32 .Lbehind\@
        \instruction
.Lbehind\@:
        mov     dword ptr [resume_rip], 0
        CHECK32 "\name: events", [ex_count], 0
.endm

# The event that came must have been this one.
.macro WANT32 name, vector, error, at
        .pushsection .rodata
.Lname\@: .asciz "\name"
        .popsection
        push    offset .Lname\@
        push    \vector
        push    \error
        push    offset \at
        call    check_event32
.endm

.code64
to_32:  pop     rax
        mov     [return_to], eax
        jmp     fword ptr [far_32]
.code32
in_32:  mov     eax, KDATA32
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     eax, cr0
        and     eax, 0x7fffffff
        mov     cr0, eax
        mov     ecx, 0xc0000080
        rdmsr
        and     eax, ~0x100                     # LME
        wrmsr
        mov     eax, cr4
        and     eax, ~0x20                      # PAE
        mov     cr4, eax
        cmp     dword ptr [idt32 + 6], 0
        jne     1f
        call    init_32
1:      lidt    [idt32_pointer]
        mov     eax, TSS32
        and     byte ptr [gdt + TSS32 + 5], 0xfd        # not busy
        ltr     ax
        jmp     dword ptr [return_to]

to_64:  pop     eax
        mov     [return_to], eax
        call    enter_long
.code64
        lidt    [idt_pointer]
        and     byte ptr [gdt + TSS_SEL + 5], 0xfd
        mov     eax, TSS_SEL
        ltr     ax
        mov     eax, [return_to]
        jmp     rax

.code32
init_32:
        xor     ecx, ecx
        mov     edi, offset idt32
1:      mov     eax, ecx
        shl     eax, 4
        add     eax, offset stubs32
        mov     [edi], ax
        mov     word ptr [edi+2], KCODE32
        mov     word ptr [edi+4], 0x8e00
        shr     eax, 16
        mov     [edi+6], ax
        add     edi, 8
        inc     ecx
        cmp     ecx, 256
        jne     1b
        mov     byte ptr [idt32 + 0x80*8 + 5], 0xee
        mov     eax, offset tss32
        mov     word ptr [gdt + TSS32], 103
        mov     [gdt + TSS32 + 2], ax
        shr     eax, 16
        mov     [gdt + TSS32 + 4], al
        mov     word ptr [gdt + TSS32 + 5], 0x0089
        mov     [gdt + TSS32 + 7], ah
        mov     dword ptr [tss32 + 4], offset stack_ring0_top
        mov     dword ptr [tss32 + 8], KDATA32
        mov     word ptr [tss32 + 102], 104     # no I/O map
        ret

.balign 16
stubs32:
.set vec, 0
.rept 256
        .balign 16
        .if (vec == 8) || ((vec >= 10) && (vec <= 14)) || (vec == 17) || (vec == 21) || (vec == 29) || (vec == 30)
        .else
        push    0
        .endif
        .byte   0x68
        .long   vec
        jmp     on_event32
        .set vec, vec + 1
.endr

# The frame: vector, error code, EIP, CS, EFLAGS, then what came with a change of level or from v8086 mode.
on_event32:
        cld
        push    eax
        push    ecx
        mov     ecx, KDATA32
        mov     ds, ecx
        mov     es, ecx
        mov     eax, [esp + 8]
        mov     [ex_vec], eax
        mov     eax, [esp + 12]
        mov     [ex_err], eax
        mov     eax, [esp + 16]
        mov     [ex_rip], eax
        mov     eax, [esp + 20]
        mov     [ex_cs], eax
        mov     eax, [esp + 24]
        mov     [ex_flags], eax
        mov     eax, [esp + 28]
        mov     [ex_rsp], eax
        mov     eax, [esp + 32]
        mov     [ex_ss], eax
        mov     eax, [esp + 36]
        mov     [ex_es], eax
        mov     eax, [esp + 40]
        mov     [ex_ds], eax
        mov     eax, cr2
        mov     [ex_cr2], eax
        lea     eax, [esp + 8]
        mov     [ex_frame], eax
        inc     dword ptr [ex_count]
        mov     eax, [resume_rip]
        test    eax, eax
        jz      unexpected32
        mov     [return_to], eax
        mov     dword ptr [resume_rip], 0
        pop     ecx
        pop     eax
        mov     esp, [resume_rsp]
        push    KDATA32
        pop     ss
        jmp     dword ptr [return_to]

unexpected32:
        mov     esi, offset text_unexpected
        call    put_text32
        mov     eax, [ex_vec]
        call    put_hex32
        mov     eax, [ex_err]
        call    put_hex32
        mov     eax, [ex_cs]
        call    put_hex32
        mov     eax, [ex_rip]
        call    put_hex32
        mov     eax, [ex_cr2]
        call    put_hex32
        mov     al, 10
        out     PORT_CONSOLE, al
        mov     al, 2
        out     PORT_EXIT, al
        cli
        hlt

put_text32:
        push    eax
1:      mov     al, [esi]
        inc     esi
        test    al, al
        jz      2f
        out     PORT_CONSOLE, al
        jmp     1b
2:      pop     eax
        ret

put_hex32:
        pushad
        mov     edx, eax
        mov     ecx, 28
1:      mov     eax, edx
        shr     eax, cl
        and     eax, 15
        cmp     al, 10
        sbb     al, 0x69                        # 0 to 9 and A to F by DAS
        das
        out     PORT_CONSOLE, al
        sub     ecx, 4
        jns     1b
        mov     al, ' '
        out     PORT_CONSOLE, al
        popad
        ret

check_equal32:
        pushfd
        pushad
        inc     dword ptr [checks]
        mov     eax, [esp + 44]                 # got
        mov     ebx, [esp + 40]                 # want
        cmp     eax, ebx
        je      1f
        inc     dword ptr [failures]
        mov     esi, offset text_fail
        call    put_text32
        mov     esi, [esp + 48]
        call    put_text32
        mov     esi, offset text_got
        call    put_text32
        call    put_hex32
        mov     esi, offset text_want
        call    put_text32
        mov     eax, ebx
        call    put_hex32
        mov     al, 10
        out     PORT_CONSOLE, al
1:      popad
        popfd
        ret     12

check_event32:
        pushfd
        pushad
        mov     dword ptr [resume_rip], 0
        inc     dword ptr [checks]
        cmp     dword ptr [ex_count], 1
        jne     2f
        mov     eax, [esp + 48]
        cmp     [ex_vec], eax
        jne     2f
        mov     eax, [esp + 44]
        cmp     [ex_err], eax
        jne     2f
        mov     eax, [esp + 40]
        cmp     [ex_rip], eax
        je      1f
2:      inc     dword ptr [failures]
        mov     esi, offset text_fail
        call    put_text32
        mov     esi, [esp + 52]
        call    put_text32
        mov     esi, offset text_event
        call    put_text32
        mov     eax, [ex_count]
        call    put_hex32
        mov     eax, [ex_vec]
        call    put_hex32
        mov     eax, [ex_err]
        call    put_hex32
        mov     eax, [ex_rip]
        call    put_hex32
        mov     esi, offset text_want
        call    put_text32
        mov     eax, [esp + 48]
        call    put_hex32
        mov     eax, [esp + 44]
        call    put_hex32
        mov     eax, [esp + 40]
        call    put_hex32
        mov     al, 10
        out     PORT_CONSOLE, al
1:      popad
        popfd
        ret     16

.section .rodata
text_unexpected: .asciz "UNEXPECTED event in 32-bit code: vector, error code, CS, EIP, CR2: "
text_fail: .asciz "FAIL "
text_got: .asciz ": got "
text_want: .asciz "want "
text_event: .asciz ": events, vector, error code, EIP: "

.data
far_32: .long   in_32
        .word   KCODE32
        .balign 8
        .word   0
idt32_pointer:
        .word   2047
        .long   idt32

.bss
.balign 4096
idt32:  .skip   2048
tss32:  .skip   104
        .skip   4
return_to: .skip 8
ex_es:  .skip   8
ex_ds:  .skip   8
.text
.code64

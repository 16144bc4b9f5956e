# Compatibility mode and the edges of the address space: 32-bit and 16-bit code under 64-bit paging, far transfers
# between them, RIP at the end of the lower half, addresses of the upper half, wrap at 4 GiB.
.include "prelude.S"

.equ SMALL, FREE_SEL            # data, limit FFh
.equ CODE_SMALL, FREE_SEL + 8   # 32-bit code with a limit
.equ GATE64, FREE_SEL + 16      # call gate to 64-bit code
.equ TOP, 0x7ffffffff000        # the last page of the lower half

main:
        # Into 32-bit code by a far return, and back by a far jump.
        mov     rax, 0x1111222233334444
        mov     rbx, rax
        mov     r12, rax
        push    KCODE32
        push    offset compat1
        retfq
.code32
compat1:
        mov     eax, -1
        inc     eax                             # one byte: 40h
        mov     ecx, 0x100
        mov     edx, [esp-4]                    # 32-bit addressing
        .byte   0xea
        .long   back1
        .word   KCODE
.code64
back1:  CHECK   "INC in 32-bit code zero-extends", rax, 0
        CHECK   "RBX kept whole", rbx, r12
        CHECK   "R12 kept", r12, rbx

        # Limits count in compatibility mode, not in 64-bit mode.
        mov     rax, 0x0040930000000000 | 0xff
        mov     [gdt + SMALL], rax
        mov     eax, offset buffer
        mov     [gdt + SMALL + 2], ax
        shr     eax, 16
        mov     [gdt + SMALL + 4], al
        mov     eax, SMALL
        mov     ds, eax
        NOFAULT "limit in 64-bit mode", mov al, [rsp + 0x200]
        EXPECT  1f
        push    KCODE32
        push    offset compat2
        retfq
1:      mov     eax, KDATA
        mov     ds, eax
        CHECK   "limit in 32-bit code", [ex_vec], V_GP
        CHECK   "its CS", [ex_cs], KCODE32
        CHECK   "its RIP", [ex_rip], offset compat2_at
        CHECK   "within the limit", rcx, 0x5a
        # Stack faults there: the handler has a good 64-bit stack.
        EXPECT  1f
        push    KCODE32
        push    offset compat3
        retfq
1:      CHECK   "PUSH beyond the limit of SS", [ex_vec], V_SS
        CHECK   "error code", [ex_err], 0
        CHECK   "SS in the frame", [ex_ss], SMALL
        CHECK   "RSP in the frame", [ex_rsp], 0x200

        # 16-bit code.
        mov     rax, rsp
        mov     [saved_rsp], rax
        push    KCODE16
        push    (code16 - base16)
        mov     rax, 0x00009b000000ffff
        mov     [gdt + CODE_SMALL], rax
        mov     eax, offset base16
        mov     [gdt + CODE_SMALL + 2], ax
        shr     eax, 16
        mov     [gdt + CODE_SMALL + 4], al
        mov     qword ptr [rsp + 8], CODE_SMALL
        retfq
.code16
base16:
        nop
code16: mov     ax, 0xffff
        inc     ax
        setz    bl
        mov     cx, sp
        .byte   0x66, 0xea
        .long   back16
        .word   KCODE
.code64
back16: mov     rsp, [saved_rsp]
        movzx   ebx, bl
        CHECK   "16-bit INC", rbx, 1
        # IP beyond the limit of CS: #GP at the jump's target.
        mov     rax, 0x00409b000000ffff
        mov     word ptr [gdt + CODE_SMALL], 15
        mov     byte ptr [gdt + CODE_SMALL + 6], 0x40
        EXPECT  1f
        push    CODE_SMALL
        push    (code_limit - base_limit)
        mov     eax, offset base_limit
        mov     [gdt + CODE_SMALL + 2], ax
        shr     eax, 16
        mov     [gdt + CODE_SMALL + 4], al
        retfq
1:      CHECK   "running over the limit of CS", [ex_vec], V_GP
        CHECK   "at the instruction that does not fit", [ex_rip], 15
        CHECK   "what ran before", rdx, 3
        EXPECT  1f
        push    CODE_SMALL
        push    0x20
2:      retfq
1:      CHECK   "far return beyond the limit", [ex_vec], V_GP
        CHECK   "is a fault of the return", [ex_rip], offset 2b

        # INT from compatibility mode and IRET back to it.
        HOOK    0x80, on_int
        push    KCODE32
        push    offset compat4
        retfq
.code32
compat4:
        int     0x80
        mov     ebx, 0x77
        .byte   0xea
        .long   back4
        .word   KCODE
.code64
back4:  CHECK   "IRET went back to 32-bit code", rbx, 0x77
        CHECK   "INT's CS", [seen_cs], KCODE32
        HOOK    0x80, 0

        # A 64-bit call gate from 32-bit code pushes 64-bit values.
        mov     eax, offset gate_target
        mov     [gdt + GATE64], ax
        mov     dword ptr [gdt + GATE64 + 2], 0x8c000000 | KCODE
        shr     eax, 16
        mov     [gdt + GATE64 + 6], ax
        mov     qword ptr [gdt + GATE64 + 8], 0
        push    KCODE32
        push    offset compat5
        mov     rbp, rsp
        retfq
.code32
compat5:
        .byte   0x9a
        .long   0
        .word   GATE64
        mov     ebx, 0x78
        .byte   0xea
        .long   back5
        .word   KCODE
.code64
gate_target:
        mov     [seen_rsp], rsp
        retfq
back5:  CHECK   "call gate from 32-bit code", rbx, 0x78
        CHECK   "two quadwords pushed", [seen_rsp], rbp

        # The last page of the lower half holds code; behind its end RIP is not canonical.
        mov     dword ptr [pml4 + 255*8], offset top_pdpt + 7
        mov     dword ptr [top_pdpt + 511*8], offset top_pd + 7
        mov     dword ptr [top_pd + 511*8], offset top_pt + 7
        mov     dword ptr [top_pt + 511*8], 0x600000 + P_ + RW
        mov     rbx, TOP
        mov     byte ptr [rbx + 0xffe], 0x90
        mov     byte ptr [rbx + 0xfff], 0x90
        mov     rcx, TOP + 0xffe
        EXPECT  1f
        jmp     rcx
1:      mov     rcx, TOP + 0x1000
        CHECK   "running over the end of the lower half", [ex_vec], V_GP
        CHECK   "RIP then", [ex_rip], rcx
        # SYSCALL or INT3 at the very end would push a non-canonical RIP.
        mov     byte ptr [rbx + 0xfff], 0xcc
        mov     rdx, TOP + 0xfff
        EXPECT  1f
        jmp     rdx
1:      CHECK   "INT3 at the end", [ex_vec], V_BP
        CHECK   "RIP behind it", [ex_rip], rcx
        # The upper half: sign-extended addresses, code there, absolute and RIP-relative.
        mov     dword ptr [pml4 + 511*8], offset top_pdpt + 7
        mov     rbx, -0x1000
        mov     dword ptr [rbx], 0x12345678
        mov     eax, [-0x1000]                  # disp32 sign-extended
        CHECK   "disp32 is sign-extended", rax, 0x12345678
        mov     byte ptr [rbx + 0x10], 0xc3
        lea     rcx, [rbx + 0x10]
        NOFAULT "code in the upper half", call rcx
        # A dword that wraps over the top of the address space reads page 0 too.
        mov     rcx, -2
        mov     word ptr [rcx], 0xbbaa
        mov     eax, [0]
        and     eax, 0xffff
        shl     eax, 16
        or      eax, 0xbbaa
        mov     edx, [rcx]
        CHECK   "wrap over the top", rdx, rax

        # 32-bit addresses wrap at 4 GiB, with an address-size prefix and in 32-bit code.
        mov     dword ptr [buffer], 0x600dcafe
        mov     rax, 0x1234567800000000
        add     rax, offset buffer
        mov     ecx, [eax]
        CHECK   "address-size prefix", rcx, 0x600dcafe
        mov     eax, 0xffffffff
        mov     edx, offset buffer
        mov     ecx, [eax + edx + 1]
        CHECK   "32-bit sum wraps", rcx, 0x600dcafe
        ret

.code32
compat2:
        mov     cl, [0xff]
        movzx   ecx, cl
compat2_at:
        mov     dl, [0x100]
compat3:
        mov     eax, SMALL
        mov     ss, eax
        mov     esp, 0x200
        push    eax
base_limit:
        nop
code_limit:
        mov     edx, 1                          # at 1
        inc     edx                             # at 6
        inc     edx
        jmp     1f                              # at 8
        nop
        nop
        nop
1:      mov     eax, edx                        # at 13
        mov     edx, 99                         # at 15: five bytes, over the limit of 15
.code64

on_int: mov     rax, [rdi + F_CS]
        mov     [seen_cs], rax
        ret

.data
.balign 16
buffer: .skip   255
        .byte   0x5a

.bss
seen_cs: .skip  8
seen_rsp: .skip 8
saved_rsp: .skip 8
.balign 4096
top_pdpt: .skip 4096
top_pd: .skip   4096
top_pt: .skip   4096

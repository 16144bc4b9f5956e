# Code that writes code: itself in the next instruction, in the same page, across pages, through another mapping,
# and by string instructions; and code whose page is mapped elsewhere.
.include "prelude.S"

.equ V, 0x40000000              # linear addresses for code
.equ PA, 0x600000               # two pages of RAM for it

main:
        mov     dword ptr [pdpt + 8], offset pd + 7
        mov     dword ptr [pd], offset pt + 7
        mov     qword ptr [pt], PA + P_ + RW
        mov     qword ptr [pt + 8], PA + 0x1000 + P_ + RW
        mov     qword ptr [pt + 16], PA + 0x2000 + P_ + RW

        # The very next instruction, patched directly before it runs.
        mov     ecx, 3
        xor     r12d, r12d
1:      mov     byte ptr [patched + 1], cl
patched:
        mov     al, 0
        movzx   eax, al
        add     r12, rax
        dec     ecx
        jnz     1b
        CHECK   "patching the next instruction", r12, 3+2+1
        # An instruction that writes over itself: the old form runs, next time the new one.
        xor     r12d, r12d
        mov     ecx, 2
2:      mov     r12b, 1
over:   mov     byte ptr [over + 7], 9
        add     r12b, [over + 7]
        dec     ecx
        jnz     2b
        CHECK   "an instruction over itself", r12, 10

        # A routine in a page of its own, changed between calls.
        mov     rbx, V
        mov     byte ptr [PA + 0], 0xb8         # mov eax, imm32
        mov     dword ptr [PA + 1], 1
        mov     byte ptr [PA + 5], 0xc3         # ret
        call    rbx
        CHECK   "code in RAM", rax, 1
        mov     dword ptr [PA + 1], 2
        call    rbx
        CHECK   "changed through another mapping", rax, 2
        mov     dword ptr [rbx + 1], 3
        call    rbx
        CHECK   "changed through its own", rax, 3
        mov     eax, 4
        mov     edi, V + 1
        stosd
        call    rbx
        CHECK   "changed by STOSD", rax, 4
        mov     esi, offset five
        mov     edi, PA + 1
        mov     ecx, 4
        rep movsb
        call    rbx
        CHECK   "changed by REP MOVSB", rax, 5
        movups  xmm0, [code16]
        movups  [rbx], xmm0
        call    rbx
        CHECK   "changed by MOVUPS", rax, 6
        mov     eax, 6
        mov     ecx, 7
        lock cmpxchg [PA + 1], ecx
        call    rbx
        CHECK   "changed by CMPXCHG", rax, 7
        mov     r13, rsp
        lea     rsp, [rbx + 16]
        mov     rax, 0x90c300000008b890         # nop; mov eax, 8; ret; nop
        push    rax
        mov     rsp, r13
        lea     rcx, [rbx + 8]
        call    rcx
        CHECK   "written by PUSH", rax, 8

        # An instruction across two pages; each part changed alone.
        mov     word ptr [PA + 0xffe], 0x01b8   # mov eax, 1 up to the second page
        mov     byte ptr [PA + 0x1000], 0
        mov     word ptr [PA + 0x1001], 0
        mov     byte ptr [PA + 0x1003], 0xc3
        lea     rcx, [rbx + 0xffe]
        call    rcx
        CHECK   "code across pages", rax, 1
        mov     byte ptr [PA + 0xfff], 2
        call    rcx
        CHECK   "first page changed", rax, 2
        mov     byte ptr [PA + 0x1000], 1
        call    rcx
        CHECK   "second page changed", rax, 0x102
        # The second page mapped elsewhere.
        mov     dword ptr [PA + 0x2000], 0xc3000005
        mov     qword ptr [pt + 8], PA + 0x2000 + P_ + RW
        invlpg  [rbx + 0x1000]
        call    rcx
        CHECK   "second page mapped elsewhere", rax, 0x502
        # The second page absent: the fault names it.
        mov     qword ptr [pt + 8], 0
        invlpg  [rbx + 0x1000]
        EXPECT  3f
        call    rcx
3:      push    offset name_absent
        push    V_PF
        push    0x10
        push    rcx
        call    check_event
        CHECK   "CR2 of the second page", [ex_cr2], V + 0x1000

        # Another page mapped in place of the code.
        mov     byte ptr [PA + 0x2000], 0xb8
        mov     dword ptr [PA + 0x2001], 99
        mov     byte ptr [PA + 0x2005], 0xc3
        mov     qword ptr [pt], PA + 0x2000 + P_ + RW
        invlpg  [rbx]
        call    rbx
        CHECK   "another page in place", rax, 99

        # A loop that changes its own loop body many times.
        xor     r12d, r12d
        mov     ecx, 1000
4:      inc     dword ptr [body + 3]
body:   add     r12, 0x1000
        dec     ecx
        jnz     4b
        # 1000 * 1000h plus 1 + 2 + ... + 1000
        CHECK   "loop over its own immediate", r12, 1000*0x1000 + 500500

        # Code under a page that a vCPU writes data to as well, all the time.
        mov     byte ptr [PA + 0x2100], 0
        mov     ecx, 1000
        xor     r12d, r12d
5:      inc     byte ptr [PA + 0x2100]
        call    rbx
        add     r12, rax
        dec     ecx
        jnz     5b
        CHECK   "data beside code", r12, 99000
        ret

.data
five:   .long   5
code16: .byte   0xb8, 6, 0, 0, 0, 0xc3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0

.section .rodata
name_absent: .asciz "code into an absent page"

.bss
.balign 4096
pd:     .skip   4096
pt:     .skip   4096

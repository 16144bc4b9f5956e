# Code that is written anew all the time, as a translator in the guest does it: more of it than an engine can keep, in
# many pages, at addresses that collide in caches, and called through several mappings.
.include "prelude.S"

.equ V, 0x40000000
.equ PA, 0x600000
.equ PAGES, 64

main:
        mov     dword ptr [pdpt + 8], offset pd + 7
        mov     qword ptr [pd], PA + P_ + RW + PSZ
        mov     qword ptr [pd + 8], PA + P_ + RW + PSZ
        mov     dword ptr [pdpt + 16], offset pd + 7

        # 24,000 routines of 61 instructions, each run twice, through two mappings.
        xor     r12d, r12d
        xor     r13d, r13d
        mov     rbp, 0x80000000
1:      mov     edi, r13d
        and     edi, PAGES-1
        shl     edi, 12
        mov     eax, r13d
        shr     eax, 6
        and     eax, 7
        shl     eax, 8
        add     edi, eax
        lea     rbx, [rdi + V]
        add     edi, PA
        mov     byte ptr [rdi], 0xb8            # mov eax, number
        mov     [rdi + 1], r13d
        add     edi, 5
        mov     ecx, 15
        mov     eax, 0x90909090
        rep stosd
        mov     byte ptr [rdi], 0xc3
        call    rbx
        add     r12, rax
        lea     rcx, [rbx + 0x40000000]
        call    rcx
        add     r12, rax
        inc     r13d
        cmp     r13d, 24000
        jne     1b
        CHECK   "what all of them gave", r12, 24000*23999

        # The routines that were written last are still there.
        xor     r13d, r13d
        mov     r14d, 512
        xor     r15d, r15d
2:      mov     edi, r13d
        and     edi, PAGES-1
        shl     edi, 12
        mov     eax, r13d
        shr     eax, 6
        and     eax, 7
        shl     eax, 8
        lea     ebx, [rdi + rax]
        add     ebx, V
        call    rbx
        and     eax, 511
        xor     eax, r13d
        or      r15, rax
        inc     r13d
        dec     r14d
        jnz     2b
        CHECK   "each routine is one's own", r15, 0
        ret

.bss
.balign 4096
pd:     .skip   4096

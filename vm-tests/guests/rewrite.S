# Writes into code that has run often, by every kind of store that there is: plain and locked ones, the stack, the FPU,
# string instructions, port input, and those that the processor makes itself in page tables and descriptors.
.include "prelude.S"

.equ V, 0x40000000              # linear addresses for code, in small pages; the same RAM lies at PA in a large one
.equ PA, 0x600000
.equ TABLE, PA + 0x3000         # a page table with code in it
.equ GDT, PA + 0x4000           # descriptors with code among them
.equ MAPPED, PA + 0x5003
.equ AREA, V + 0x200000         # what TABLE maps

# Makes `mov rax, 1111h; ret` with the immediate at PA + at (a multiple of 16), whose address comes into RDI, and runs it
# until it is hot. What follows writes over it.
.macro HOT name, at
        mov     edi, PA + \at
        lea     r14, [rdi + V - PA - 2]
        call    plant
        call    heat
        CHECK   "\name: before", rax, 0x1111
.endm

# Runs it again: now RAX must be `want`.
.macro NOW name, want:vararg
        call    heat
        CHECK   "\name", rax, \want
.endm

# Both, with one instruction between them.
.macro WAY name, at, want, instruction:vararg
        HOT     "\name", \at
        \instruction
        NOW     "\name", \want
.endm

main:
        mov     dword ptr [pdpt + 8], offset pd + 7
        mov     dword ptr [pd], offset pt + 7
        mov     dword ptr [pd + 8], TABLE + P_ + RW
        xor     ecx, ecx
1:      mov     eax, ecx
        shl     eax, 12
        add     eax, PA + P_ + RW
        mov     [pt + rcx*8], rax
        inc     ecx
        cmp     ecx, 8
        jne     1b
        mov     r15d, 3
again:  call    stores
        call    strings
        call    of_the_stack
        call    of_the_vectors
        call    of_the_processor
        call    loops
        dec     r15d
        jnz     again
        ret

plant:  mov     qword ptr [rdi], 0x1111
        mov     word ptr [rdi - 2], 0xb848
        mov     qword ptr [rdi + 8], 0xc3
        ret

heat:   push    rcx
        mov     ecx, 20
1:      call    r14
        dec     ecx
        jnz     1b
        pop     rcx
        ret

stores: WAY     "MOV", 0x10, 5, mov dword ptr [rdi], 5
        WAY     "MOV through the code's own mapping", 0x30, 6, mov dword ptr [r14 + 2], 6
        WAY     "ADD", 0x50, 0x1112, add dword ptr [rdi], 1
        WAY     "LOCK DEC", 0x70, 0x1110, lock dec qword ptr [rdi]
        HOT     "NOT", 0x90
        not     byte ptr [rdi]
        and     dword ptr [rdi], 0xff
        NOW     "NOT", 0xee
        HOT     "XCHG", 0xb0
        mov     eax, 7
        xchg    [rdi], rax
        NOW     "XCHG", 7
        HOT     "LOCK XADD", 0xd0
        mov     eax, 8
        lock    xadd [rdi], rax
        NOW     "LOCK XADD", 0x1119
        WAY     "BTS", 0xf0, 0x101111, bts dword ptr [rdi], 20
        HOT     "BTS by a register, from afar", 0x110
        mov     eax, 0x800 + 16
        bts     [rdi - 0x100], eax
        NOW     "BTS by a register, from afar", 0x11111
        HOT     "SETE", 0x130
        cmp     eax, eax
        sete    byte ptr [rdi]
        NOW     "SETE", 0x1101
        HOT     "SHLD", 0x150
        xor     eax, eax
        shld    [rdi], rax, 4
        NOW     "SHLD", 0x11110
        HOT     "MOVNTI", 0x170
        mov     eax, 9
        movnti  [rdi], eax
        NOW     "MOVNTI", 9
        HOT     "MOV from a segment register", 0x190
        mov     eax, ss
        mov     [rdi], ss
        NOW     "MOV from a segment register", KDATA
        WAY     "STR", 0x1b0, TSS_SEL, str word ptr [rdi]
        HOT     "CMPXCHG8B", 0x1d0
        mov     eax, 0x1111
        mov     ebx, 10
        xor     edx, edx
        xor     ecx, ecx
        cmpxchg8b [rdi]
        NOW     "CMPXCHG8B", 10
        HOT     "CMPXCHG16B", 0x1f0
        mov     eax, 0x1111
        mov     edx, 0xc3
        mov     ebx, 11
        mov     ecx, 0xc3
        cmpxchg16b [rdi]
        NOW     "CMPXCHG16B", 11
        # A failing comparison writes back what was there.
        HOT     "CMPXCHG that fails", 0x210
        xor     eax, eax
        lock    cmpxchg [rdi], rdi
        NOW     "CMPXCHG that fails", 0x1111
        # From the page before, in which there is no code.
        mov     qword ptr [PA + 0x1ff8], 0
        mov     dword ptr [PA + 0x2000], 0x001111b8     # mov eax, 1111h
        mov     word ptr [PA + 0x2004], 0xc300
        mov     r14d, V + 0x2000
        call    heat
        CHECK   "code at the start of a page", rax, 0x1111
        mov     rax, 0x00000022b8000000
        mov     [PA + 0x1ffd], rax
        call    heat
        CHECK   "a store from the page before", rax, 0x22
        ret

strings:
        HOT     "STOSD", 0x310
        mov     eax, 12
        stosd
        NOW     "STOSD", 12
        HOT     "REP STOSB", 0x330
        mov     al, 13
        mov     ecx, 2
        rep     stosb
        NOW     "REP STOSB", 0x0d0d
        HOT     "REP STOSQ up to the RET", 0x350
        mov     ecx, 1
        mov     eax, 0x90
        rep     stosq
        NOW     "REP STOSQ up to the RET", 0x90
        HOT     "MOVSQ", 0x370
        mov     esi, offset fourteen
        movsq
        NOW     "MOVSQ", 14
        HOT     "REP MOVSQ of the code's end", 0x390
        mov     esi, offset fourteen
        mov     ecx, 2
        rep     movsq
        NOW     "REP MOVSQ of the code's end", 14
        HOT     "REP MOVSB of all of it", 0x3b0
        sub     edi, 2
        mov     esi, offset fifteen
        mov     ecx, 11
        rep     movsb
        NOW     "REP MOVSB of all of it", 15
        HOT     "REP MOVSB backwards", 0x3d0
        std
        add     edi, 8
        mov     esi, offset fifteen + 10
        mov     ecx, 11
        rep     movsb
        cld
        NOW     "REP MOVSB backwards", 15
        HOT     "INSB", 0x3f0
        mov     edx, 0x21
        insb
        NOW     "INSB", 0x11ff
        # Code over other code: what the copy was is gone, what it came from goes on.
        HOT     "code over code", 0x410
        mov     esi, PA + 0x390
        mov     ecx, 16
        rep     movsb
        NOW     "code over code", 14
        mov     r14d, V + 0x390 - 2
        call    heat
        CHECK   "what was copied", rax, 14
        ret

of_the_stack:
        mov     r13, rsp
        HOT     "PUSH", 0x510
        lea     rsp, [rdi + 8]
        push    16
        mov     rsp, r13
        NOW     "PUSH", 16
        HOT     "POP", 0x530
        push    17
        pop     qword ptr [rdi]
        NOW     "POP", 17
        HOT     "CALL", 0x550
        lea     rsp, [rdi + 8]
        call    .Lcalled
.Lcalled:
        mov     rsp, r13
        NOW     "CALL", offset .Lcalled
        HOT     "ENTER", 0x570
        lea     rsp, [rdi + 8]
        push    rbp
        mov     ebp, 18
        pop     rax
        enter   0, 0
        mov     rsp, r13
        NOW     "ENTER", 18
        HOT     "PUSHFQ", 0x590
        pushfq
        pop     rax
        mov     rcx, rax
        push    2
        popfq
        lea     rsp, [rdi + 8]
        pushfq
        mov     rsp, r13
        push    rcx
        popfq
        NOW     "PUSHFQ", 0x2
        ret

of_the_vectors:
        HOT     "MOVAPS", 0x610
        movaps  xmm0, [fourteen]
        movaps  [rdi], xmm0
        NOW     "MOVAPS", 14
        WAY     "MOVNTDQ", 0x630, 14, movntdq [rdi], xmm0
        WAY     "MOVLPS", 0x650, 14, movlps [rdi], xmm0
        WAY     "MOVSS", 0x670, 14, movss [rdi], xmm0
        WAY     "PEXTRW", 0x690, 0x000e, pextrw word ptr [rdi], xmm0, 0
        HOT     "MASKMOVDQU", 0x6b0
        movaps  xmm1, [first_byte]
        maskmovdqu xmm0, xmm1
        NOW     "MASKMOVDQU", 0x110e
        WAY     "STMXCSR", 0x6d0, 0x1f80, stmxcsr [rdi]
        HOT     "FNSTCW", 0x6f0
        fninit
        fnstcw  [rdi]
        NOW     "FNSTCW", 0x37f
        HOT     "FISTP", 0x710
        fild    qword ptr [fourteen]
        fistp   qword ptr [rdi]
        NOW     "FISTP", 14
        ret

# Bits that the processor sets where a program never wrote.
of_the_processor:
        # The entry of a page table is the immediate: its accessed and its dirty bit.
        mov     edi, TABLE + 0x10
        lea     r14, [rdi + V - PA - 2]
        call    plant
        mov     qword ptr [rdi], MAPPED
        invlpg  [AREA + 0x2000]
        call    heat
        CHECK   "an entry of a page table as code", rax, MAPPED
        mov     al, [AREA + 0x2000]
        call    heat
        CHECK   "its accessed bit", rax, MAPPED+A_
        mov     [AREA + 0x2000], al
        call    heat
        CHECK   "its dirty bit", rax, MAPPED+A_+D_
        and     dword ptr [rdi], ~(A_ + D_)
        invlpg  [AREA + 0x2000]
        call    heat
        CHECK   "without both", rax, MAPPED
        lock inc dword ptr [AREA + 0x2ffc]
        call    heat
        CHECK   "both at once", rax, MAPPED+A_+D_
        # Fetching code is an access, too.
        and     dword ptr [rdi], ~(A_ + D_)
        invlpg  [AREA + 0x2000]
        mov     byte ptr [PA + 0x5000], 0xc3
        call    heat
        mov     ecx, AREA + 0x2000
        call    rcx
        call    heat
        CHECK   "the accessed bit by a fetch", rax, MAPPED+A_

        # Descriptors: loading a segment, and the task register.
        mov     esi, offset gdt
        mov     edi, GDT
        mov     ecx, gdt_end - gdt
        rep movsb
        mov     edi, GDT + FREE_SEL
        lea     r14, [rdi + V - PA - 2]
        call    plant
        mov     rax, 0x00cf92000000ffff
        mov     [rdi], rax
        call    heat
        lgdt    [other_gdt]
        mov     eax, FREE_SEL
        mov     fs, eax
        call    heat
        shr     rax, 40
        and     eax, 0xff
        CHECK   "the accessed bit of a segment", rax, 0x93
        mov     edi, GDT + FREE_SEL + 0x20
        lea     r14, [rdi + V - PA - 2]
        call    plant
        mov     rax, [gdt + TSS_SEL]
        btr     rax, 41
        mov     [rdi], rax
        call    heat
        mov     eax, FREE_SEL + 0x20
        ltr     ax
        call    heat
        shr     rax, 40
        and     eax, 0xff
        CHECK   "the busy bit of a task", rax, 0x8b
        xor     eax, eax
        mov     fs, eax
        lgdt    [gdt_pointer]
        and     byte ptr [gdt + TSS_SEL + 5], ~2
        mov     eax, TSS_SEL
        ltr     ax
        ret

# Loops that change themselves all the time.
loops:  xor     r12d, r12d
        mov     ecx, 500
1:      mov     [2f + 1], ecx                   # the next instruction
2:      mov     eax, 0
        add     r12, rax
        dec     ecx
        jnz     1b
        CHECK   "the next instruction, often", r12, 500 * 501 / 2
        xor     r12d, r12d
        mov     ecx, 500
1:
2:      mov     eax, 0
        add     r12, rax
        mov     [2b + 1], ecx                   # one before it in its block
        dec     ecx
        jnz     1b
        mov     dword ptr [2b + 1], 0
        CHECK   "one before it, often", r12, 500 * 501 / 2 - 1
        xor     r12d, r12d
        mov     ecx, 500
1:      add     dword ptr [own], 1              # an instruction over its own immediate
        .set    own, . - 1
        mov     byte ptr [own], 1
        inc     r12d
        dec     ecx
        jnz     1b
        CHECK   "an instruction over itself, often", r12, 500
        ret

.data
.balign 16
fourteen: .quad 14, 0xc3
first_byte: .byte 0x80
        .fill   15
fifteen: .byte  0x48, 0xb8, 15, 0, 0, 0, 0, 0, 0, 0, 0xc3
        .balign 8
        .word   0
other_gdt:
        .word   gdt_end - gdt - 1
        .quad   GDT

.bss
.balign 4096
pd:     .skip   4096
pt:     .skip   4096

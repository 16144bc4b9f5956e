# String instructions: restart after a fault in the middle, interrupts between iterations, direction, sizes, overlap.
.include "prelude.S"

.equ V, 0x40000000              # two pages here, the second absent at first
.equ PA, 0x600000

main:
        mov     dword ptr [pdpt + 8], offset pd + 7
        mov     dword ptr [pd], offset pt + 7
        mov     qword ptr [pt], PA + P_ + RW
        mov     qword ptr [pt + 8], 0
        call    fill

        # MOVSB into an absent page: registers stand at the byte that faulted.
        mov     esi, offset source
        mov     edi, V + 0xff0
        mov     ecx, 32
        FAULT   "REP MOVSB into an absent page", V_PF, 2, rep movsb
        CHECK   "RCX", rcx, 16
        CHECK   "RSI", rsi, offset source + 16
        CHECK   "RDI", rdi, V + 0x1000
        CHECK   "CR2", [ex_cr2], V + 0x1000
        CHECK   "what was copied", [PA + 0xff8], qword ptr [source + 8]
        mov     rax, [ex_flags]
        and     eax, 0x10000
        CHECK   "RF in the frame", rax, 0x10000
        # The same with the page given by the handler: goes on as if nothing had been.
        HOOK    V_PF, give_page
        rep movsb
        CHECK   "went on to the end", rcx, 0
        CHECK   "second page", [PA + 0x1008], qword ptr [source + 24]
        mov     qword ptr [pt + 8], 0
        invlpg  [V + 0x1000]
        HOOK    V_PF, 0

        # Backwards, quadwords that cross.
        std
        mov     esi, offset source + 64
        mov     edi, V + 0x1010
        mov     ecx, 4
        FAULT   "REP MOVSQ backwards from an absent page", V_PF, 2, rep movsq
        CHECK   "nothing done", rcx, 4
        cld
        mov     esi, offset source
        mov     edi, V + 0xfec
        mov     ecx, 8
        FAULT   "REP MOVSQ, one that crosses", V_PF, 2, rep movsq
        CHECK   "two done", rcx, 6
        mov     eax, [PA + 0xffc]               # still what MOVSB wrote
        CHECK   "the crossing one wrote nothing", rax, 0x53525150
        CHECK   "CR2 of the crossing one", [ex_cr2], V + 0x1000

        # CMPS and SCAS: count, flags, the position behind the difference.
        mov     esi, offset source
        mov     edi, offset copy
        mov     ecx, 64
        rep movsb
        mov     byte ptr [copy + 20], 0xff
        mov     esi, offset source
        mov     edi, offset copy
        mov     ecx, 64
        repe cmpsb
        setb    al
        movzx   eax, al
        CHECK   "REPE CMPSB, count", rcx, 43
        CHECK   "REPE CMPSB, RSI", rsi, offset source + 21
        CHECK   "REPE CMPSB, below", rax, 1
        mov     edi, offset source
        mov     eax, 0x44 + 5
        mov     ecx, 64
        repne scasb
        CHECK   "REPNE SCASB", rdi, offset source + 6
        CHECK   "REPNE SCASB, count", rcx, 58
        # A count of zero does nothing, and touches nothing.
        mov     edi, V + 0x5000
        xor     ecx, ecx
        NOFAULT "REP STOSB with RCX 0 at an absent page", rep stosb
        # A count with 32-bit addresses: only ECX, and the upper halves go.
        mov     rcx, 0x100000002
        mov     rdi, offset copy
        xor     eax, eax
        addr32 rep stosb
        CHECK   "ECX of addr32 REP", rcx, 0
        CHECK   "EDI of addr32 REP", rdi, offset copy + 2

        # Overlap: MOVSB with a distance of one byte spreads it; STOSD, LODSW.
        mov     byte ptr [copy], 0x77
        mov     esi, offset copy
        mov     edi, offset copy + 1
        mov     ecx, 31
        rep movsb
        mov     rax, 0x7777777777777777
        CHECK   "overlapping MOVSB", [copy + 24], rax
        mov     edi, offset copy
        mov     eax, 0x01020304
        mov     ecx, 3
        rep stosd
        CHECK   "STOSD", rdi, offset copy + 12
        mov     esi, offset copy
        lodsw
        CHECK   "LODSW", rax, 0x01020304
        CHECK   "LODSW, RSI", rsi, offset copy + 2

        # An interrupt in the midst of a long REP: the handler sees it half done.
        call    timer_init
        HOOK    0x50, on_timer
        mov     esi, 0x600000
        mov     edi, 0x700000
        mov     ecx, 0x40000
        sti
long_rep:
        rep movsb
        cli
        CHECK   "long REP to its end", rcx, 0
        mov     eax, offset long_rep
        CHECK   "interrupted at the instruction itself", [seen_rip], rax
        mov     rax, [seen_rcx]
        dec     rax
        cmp     rax, 0x3ffff
        setb    al
        movzx   eax, al
        CHECK   "half done", rax, 1
        mov     rax, [seen_rcx]
        add     rax, [seen_rdi]
        CHECK   "count and place agree", rax, 0x740000
        mov     esi, 0x600000
        mov     edi, 0x700000
        mov     ecx, 0x40000
        repe cmpsb
        sete    al
        movzx   eax, al
        CHECK   "copied whole", rax, 1
        cmp     qword ptr [timer_count], 3
        seta    al
        movzx   eax, al
        CHECK   "interrupted several times", rax, 1

        # INS and OUTS.
        mov     edx, PORT_CONSOLE
        mov     edi, offset copy
        mov     ecx, 4
        rep insb
        mov     eax, 0xe9e9e9e9
        mov     ecx, [copy]
        CHECK   "REP INSB", rcx, rax
        mov     esi, offset text
        mov     ecx, 8
        rep outsb
        CHECK   "REP OUTSB", rcx, 0
        mov     edi, V + 0x1000
        mov     ecx, 1
        FAULT   "INSB to an absent page", V_PF, 2, rep insb
        CHECK   "INSB, count", rcx, 1
        ret

fill:   xor     ecx, ecx
1:      lea     eax, [rcx + 0x44]
        mov     [source + rcx], al
        inc     ecx
        cmp     ecx, 128
        jne     1b
        ret

# Local APIC timer, periodic, each 40,000 ns.
timer_init:
        mov     eax, 0xfee00000
        mov     dword ptr [rax + 0xf0], 0x1ff
        mov     dword ptr [rax + 0x3e0], 0xb
        mov     dword ptr [rax + 0x320], 0x20050
        mov     dword ptr [rax + 0x380], 40000
        ret

on_timer:
        inc     qword ptr [timer_count]
        mov     rax, [rdi + F_RIP]
        cmp     rax, offset long_rep
        jne     1f
        mov     [seen_rip], rax
        mov     rax, [rdi + F_RCX]
        mov     [seen_rcx], rax
        mov     rax, [rdi + 8*8]
        mov     [seen_rdi], rax
1:      mov     eax, 0xfee000b0
        mov     dword ptr [rax], 0
        ret

give_page:
        mov     qword ptr [pt + 8], PA + 0x1000 + P_ + RW
        ret

.data
text:   .ascii  "outsb ok"

.bss
.balign 4096
pd:     .skip   4096
pt:     .skip   4096
source: .skip   256
copy:   .skip   256
timer_count: .skip 8
seen_rip: .skip 8
seen_rcx: .skip 8
seen_rdi: .skip 8

# The APICs and the timers behind them: local APIC timer (one-shot, periodic, TSC deadline), priorities, self-IPI, NMI,
# x2APIC; I/O APIC with PIT and HPET; PM timer.
.include "prelude.S"
.include "board.S"

.macro LWRITE register, value
        mov     dword ptr [rbx + \register], \value
.endm

main:
        mov     al, 0xff                        # no 8259 lines
        out     0x21, al
        out     0xa1, al
        mov     ebx, LAPIC
        mov     ebp, IOAPIC
        HOOK    0x50, on_timer
        HOOK    0x60, on_low
        HOOK    0x70, on_high
        HOOK    0x51, on_line
        HOOK    2, on_nmi
        mov     eax, [rbx + 0x30]
        and     eax, 0xff
        cmp     eax, 0x10
        setae   al
        movzx   eax, al
        CHECK   "integrated APIC", rax, 1
        LWRITE  0xf0, 0x1ff                     # enabled, spurious vector FFh

        # One-shot, divided by 1: 1 tick is 1 ns.
        LWRITE  0x3e0, 0xb
        LWRITE  0x320, 0x50
        LWRITE  0x380, 20000
        mov     eax, [rbx + 0x390]
        cmp     eax, 20000
        setbe   al
        movzx   eax, al
        CHECK   "counting down", rax, 1
        sti
        hlt
        cli
        CHECK   "one-shot", [timer_count], 1
        mov     eax, [rbx + 0x390]
        CHECK   "count at the end", rax, 0
        sti
        mov     ecx, 50
        call    wait_us
        cli
        CHECK   "only one shot", [timer_count], 1
        # Divided by 16.
        LWRITE  0x3e0, 3
        LWRITE  0x380, 1000
        call    now
        mov     r12, rax
        sti
        hlt
        cli
        call    now
        sub     rax, r12
        cmp     rax, 16000
        setae   cl
        cmp     rax, 18000
        setbe   ch
        movzx   eax, cx
        CHECK   "divided by 16", rax, 0x101

        # Periodic.
        mov     qword ptr [timer_count], 0
        LWRITE  0x3e0, 0xb
        LWRITE  0x320, 0x20050
        LWRITE  0x380, 50000
        call    now
        mov     r12, rax
        sti
1:      hlt
        cmp     qword ptr [timer_count], 10
        jb      1b
        cli
        call    now
        sub     rax, r12
        cmp     rax, 500000
        setae   cl
        cmp     rax, 520000
        setbe   ch
        movzx   eax, cx
        CHECK   "ten periods", rax, 0x101
        # Masked: counts, tells nobody.
        LWRITE  0x320, 0x30050
        mov     ecx, 200
        sti
        call    wait_us
        cli
        CHECK   "masked", [timer_count], 10
        LWRITE  0x380, 0

        # TSC deadline.
        LWRITE  0x320, 0x40050
        mov     qword ptr [timer_count], 0
        rdtsc
        add     eax, 30000
        adc     edx, 0
        mov     r12d, eax
        mov     ecx, 0x6e0
        wrmsr
        rdmsr
        CHECK   "deadline reads back", rax, r12
        sti
        hlt
        cli
        CHECK   "deadline", [timer_count], 1
        mov     ecx, 0x6e0
        rdmsr
        CHECK   "deadline is over", rax, 0
        rdtsc
        sub     eax, r12d
        cmp     eax, 2000
        setb    al
        movzx   eax, al
        CHECK   "on time", rax, 1
        # One that is past comes at once; zero disarms.
        xor     edx, edx
        mov     eax, 1
        mov     ecx, 0x6e0
        wrmsr
        sti
        nop
        nop
        cli
        CHECK   "a deadline in the past", [timer_count], 2
        rdtsc
        add     eax, 5000
        mov     ecx, 0x6e0
        wrmsr
        xor     eax, eax
        xor     edx, edx
        wrmsr
        mov     ecx, 20
        sti
        call    wait_us
        cli
        CHECK   "disarmed", [timer_count], 2
        LWRITE  0x320, 0x10050

        # Self-IPIs: the higher class first, the lower waits for TPR.
        LWRITE  0x80, 0x60
        LWRITE  0x300, 0x40060                  # self, vector 60h
        LWRITE  0x300, 0x40070
        mov     eax, [rbx + 0x200 + 0x30]       # IRR 60h to 7Fh
        CHECK   "both requested", rax, 0x10001
        sti
        nop
        nop
        cli
        CHECK   "above TPR", [high_count], 1
        CHECK   "held back by TPR", [low_count], 0
        CHECK   "in service", [isr_in_high], 0x10000
        mov     rax, cr8
        CHECK   "CR8 is TPR", rax, 6
        sti
        mov     eax, 5
        mov     cr8, rax
        nop
        cli
        CHECK   "let through by CR8", [low_count], 1
        mov     eax, [rbx + 0x80]
        CHECK   "TPR is CR8", rax, 0x50
        LWRITE  0x80, 0

        # NMI to itself; within its handler, until IRET, no second one.
        LWRITE  0x310, 0
        LWRITE  0x300, 0x400                    # NMI, physical destination 0
        nop
        CHECK   "NMI with IF clear", [nmi_count], 2
        CHECK   "the second NMI came after the first", [nmi_depth], 1

        # I/O APIC: the PIT at input 2.
        mov     dword ptr [rbp], 1
        mov     eax, [rbp + 0x10]
        shr     eax, 16
        CHECK   "24 inputs", rax, 23
        mov     dword ptr [rbp], 0x15
        mov     dword ptr [rbp + 0x10], 0
        mov     dword ptr [rbp], 0x14
        mov     dword ptr [rbp + 0x10], 0x51    # fixed, edge, physical
        mov     al, 0x34
        out     0x43, al
        mov     al, 100
        out     0x40, al
        mov     al, 0
        out     0x40, al
        sti
2:      hlt
        cmp     qword ptr [line_count], 3
        jb      2b
        cli
        mov     dword ptr [rbp], 0x14
        mov     dword ptr [rbp + 0x10], 0x10051 # masked
        mov     al, 0x30                        # and the PIT stopped
        out     0x43, al
        CHECK   "PIT by the I/O APIC", [line_count], 3

        # HPET timer 0 to input 20, level triggered, one-shot.
        mov     r8d, HPET
        mov     rax, [r8]
        shr     rax, 32
        cmp     eax, 100000000
        setbe   al
        movzx   eax, al
        CHECK   "HPET period is at most 100 ns", rax, 1
        mov     rcx, [r8 + 0x100]
        shr     rcx, 32
        bsf     r10d, ecx                       # an input that the timer can use
        mov     eax, 0x10
        lea     eax, [rax + r10*2]
        mov     dword ptr [rbp], eax
        mov     dword ptr [rbp + 0x10], 0x8051  # level
        inc     eax
        mov     dword ptr [rbp], eax
        mov     dword ptr [rbp + 0x10], 0
        HOOK    0x51, on_hpet
        mov     qword ptr [line_count], 0
        mov     qword ptr [r8 + 0x10], 0
        mov     qword ptr [r8 + 0xf0], 0
        mov     eax, r10d
        shl     eax, 9
        or      eax, 6                          # interrupt enabled, level
        mov     [r8 + 0x100], rax
        mov     qword ptr [r8 + 0x108], 5000
        mov     qword ptr [r8 + 0x10], 1
        sti
        hlt
        cli
        CHECK   "HPET interrupt", [line_count], 1
        mov     rax, [r8 + 0xf0]
        cmp     rax, 5000
        setae   al
        movzx   eax, al
        CHECK   "HPET counter got there", rax, 1
        CHECK   "HPET status was set", [hpet_status], 1
        mov     qword ptr [r8 + 0x10], 0
        mov     rax, [r8 + 0xf0]
        mov     rcx, [r8 + 0xf0]
        CHECK   "a stopped HPET stands still", rax, rcx

        # PM timer: 3.579545 MHz.
        mov     dx, 0x608
        in      eax, dx
        mov     r12d, eax
        mov     ecx, 1000
        call    wait_us
        in      eax, dx
        sub     eax, r12d
        and     eax, 0xffffff
        cmp     eax, 3579
        setae   cl
        cmp     eax, 3600
        setbe   ch
        movzx   eax, cx
        CHECK   "PM timer", rax, 0x101

        # x2APIC.
        mov     ecx, 0x802
        FAULT   "x2APIC register in xAPIC mode", V_GP, 0, rdmsr
        mov     ecx, 0x1b
        rdmsr
        bts     eax, 10
        wrmsr
        mov     ecx, 0x802
        rdmsr
        CHECK   "x2APIC ID", rax, 0
        mov     ecx, 0x83f
        mov     eax, 0x70
        xor     edx, edx
        mov     qword ptr [high_count], 0
        HOOK    0x70, on_high_x2
        sti
        wrmsr                                   # self-IPI
        nop
        cli
        CHECK   "self-IPI of x2APIC", [high_count], 1
        mov     ecx, 0x802
        FAULT   "write of the x2APIC ID", V_GP, 0, wrmsr
        mov     ecx, 0x80e
        FAULT   "reserved x2APIC register", V_GP, 0, rdmsr
        mov     ecx, 0x80b
        mov     eax, 1
        FAULT   "EOI other than 0", V_GP, 0, wrmsr
        mov     ecx, 0x1b
        rdmsr
        btr     eax, 10
        FAULT   "from x2APIC back to xAPIC", V_GP, 0, wrmsr
        ret

now:    push    rdx
        rdtsc
        shl     rdx, 32
        or      rax, rdx
        pop     rdx
        ret

WAIT_US

eoi:    mov     eax, LAPIC + 0xb0
        mov     dword ptr [rax], 0
        ret

on_timer:
        inc     qword ptr [timer_count]
        call    eoi
        ret
on_low: inc     qword ptr [low_count]
        call    eoi
        ret
on_high:
        inc     qword ptr [high_count]
        mov     eax, LAPIC + 0x100 + 0x30
        mov     eax, [rax]
        mov     [isr_in_high], rax
        call    eoi
        ret
on_high_x2:
        inc     qword ptr [high_count]
        mov     ecx, 0x80b
        xor     eax, eax
        xor     edx, edx
        wrmsr
        ret
on_line:
        inc     qword ptr [line_count]
        call    eoi
        ret
on_hpet:
        inc     qword ptr [line_count]
        mov     eax, HPET + 0x20
        mov     rcx, [rax]
        mov     [hpet_status], rcx
        mov     qword ptr [rax], 1              # write 1 to clear: the line goes down
        call    eoi
        ret

# The first NMI sends itself a second, which must wait for the first one's IRET.
on_nmi:
        inc     qword ptr [nmi_count]
        inc     qword ptr [nmi_now]
        mov     rax, [nmi_now]
        cmp     rax, [nmi_depth]
        jb      1f
        mov     [nmi_depth], rax
1:      cmp     qword ptr [nmi_count], 1
        jne     2f
        mov     eax, LAPIC
        mov     dword ptr [rax + 0x310], 0
        mov     dword ptr [rax + 0x300], 0x400
        nop
        nop
2:      dec     qword ptr [nmi_now]
        ret

.bss
timer_count: .skip 8
low_count: .skip 8
high_count: .skip 8
isr_in_high: .skip 8
line_count: .skip 8
hpet_status: .skip 8
nmi_count: .skip 8
nmi_now: .skip  8
nmi_depth: .skip 8

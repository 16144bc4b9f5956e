# Interrupts of the PC's old controllers: 8259, 8254, RTC, and how the CPU takes interrupts: STI and MOV SS shadows,
# HLT, IF at ring 3.
.include "prelude.S"
.include "board.S"

main:
        call    pic_init
        xor     eax, eax
        HOOK    0x20, on_timer
        HOOK    0x21, on_keyboard
        HOOK    0x28, on_rtc

        # 8254, channel 0, one-shot after 1000 ticks of 838 ns; HLT wakes.
        OUTB    0x21, 0xfe
        OUTB    0x43, 0x30
        OUTB    0x40, 1000 & 0xff
        OUTB    0x40, 1000 >> 8
        sti
        hlt
behind_hlt:
        cli
        CHECK   "one interrupt", [timer_count], 1
        mov     eax, offset behind_hlt
        CHECK   "RIP behind HLT", [last_rip], rax
        CHECK   "in service until EOI", [was_in_service], 1

        # Rate generator: five periods of 500 ticks.
        mov     qword ptr [timer_count], 0
        OUTB    0x43, 0x34
        OUTB    0x40, 500 & 0xff
        OUTB    0x40, 500 >> 8
        rdtsc
        mov     r12d, eax
        sti
1:      hlt
        cmp     qword ptr [timer_count], 5
        jb      1b
        cli
        rdtsc
        sub     eax, r12d
        # 2500 ticks are 2,095 us; the TSC has 1 GHz, within 5 % for the way there.
        cmp     eax, 2000000
        setae   cl
        cmp     eax, 2300000
        setbe   ch
        movzx   ecx, cx
        CHECK   "five periods take as long as they should", rcx, 0x101

        # A masked line waits; unmasked, it comes. One interrupt, however many periods went by.
        mov     qword ptr [timer_count], 0
        OUTB    0x21, 0xff
        mov     ecx, 2000
        sti
        call    wait_us
        CHECK   "masked", [timer_count], 0
        cli
        OUTB    0x20, 0x0a                      # read IRR
        in      al, 0x20
        and     eax, 1
        CHECK   "requested while masked", rax, 1
        OUTB    0x43, 0x30                      # stop the timer; mode 0 takes the line down
        OUTB    0x21, 0xfe
        sti
        nop
        nop
        cli
        # STI delays by one instruction.
        mov     qword ptr [timer_count], 0
        call    timer_soon
        mov     ecx, 100
        call    wait_us
        CHECK   "IF clear holds it off", [timer_count], 0
        sti
after_sti:
        nop
after_nop:
        cli
        CHECK   "taken behind STI", [timer_count], 1
        mov     eax, offset after_nop
        CHECK   "one instruction behind STI", [last_rip], rax
        # STI; CLI lets nothing through.
        mov     qword ptr [timer_count], 0
        call    timer_soon
        mov     ecx, 100
        call    wait_us
        sti
        cli
        CHECK   "STI and CLI", [timer_count], 0
        # STI; then MOV SS: its shadow follows on.
        mov     eax, ss
        sti
        mov     ss, eax
        mov     rcx, rcx
after_mov:
        nop
        cli
        CHECK   "taken behind MOV SS", [timer_count], 1
        mov     ecx, offset after_mov
        CHECK   "behind the shadow of MOV SS", [last_rip], rcx
        # POPF casts no shadow.
        mov     qword ptr [timer_count], 0
        call    timer_soon
        mov     ecx, 100
        call    wait_us
        push    0x202
        popfq
after_popf:
        nop
        cli
        mov     ecx, offset after_popf
        CHECK   "directly behind POPF", [last_rip], rcx

        # Ring 3 with IF: the interrupt comes onto the stack of the TSS.
        mov     qword ptr [timer_count], 0
        call    timer_soon
        USER    "interrupt in ring 3", u_wait, 0x80, 0, u_wait_end
        CHECK   "taken in ring 3", [timer_count], 1
        CHECK   "CS of the interrupted", [last_cs], UCODE

        # Priorities and nesting: the keyboard's line is below the timer's.
        mov     qword ptr [timer_count], 0
        OUTB    0x21, 0xfc
        OUTB    0x64, 0xd2                      # a byte as if from the keyboard: raises IRQ 1
        OUTB    0x60, 0x55
        call    timer_soon
        mov     ecx, 100
        call    wait_us
        sti
        nop
        nop
        nop
        cli
        CHECK   "both came", [timer_count], 1
        CHECK   "the keyboard's second", [keyboard_after_timer], 1
        CHECK   "the keyboard's byte", [keyboard_byte], 0x55

        # The slave: RTC, update-ended at the second, alarm aside; periodic at 1024 Hz.
        OUTB    0x21, 0xfb
        OUTB    0xa1, 0xfe
        OUTB    0x70, 0x0a
        OUTB    0x71, 0x26
        OUTB    0x70, 0x0b
        OUTB    0x71, 0x42                      # periodic, 24 hours
        OUTB    0x70, 0x0c
        in      al, 0x71
        sti
2:      hlt
        cmp     qword ptr [rtc_count], 3
        jb      2b
        cli
        CHECK   "RTC periodic", [rtc_flags], 0xc0
        OUTB    0x70, 0x0b
        OUTB    0x71, 0x12                      # update-ended
        OUTB    0x70, 0x0c
        in      al, 0x71
        mov     qword ptr [rtc_count], 0
        sti
3:      hlt
        cmp     qword ptr [rtc_count], 1
        jb      3b
        cli
        mov     rax, [rtc_flags]
        and     eax, 0x90
        CHECK   "RTC update-ended", rax, 0x90
        OUTB    0x70, 0
        in      al, 0x71
        movzx   eax, al
        CHECK   "one second has gone by", rax, 1

        # INT n is no interrupt: IF does not matter, and the controllers see nothing.
        mov     qword ptr [timer_count], 0
        int     0x20
        CHECK   "INT 20h runs the handler", [timer_count], 1
        CHECK   "but nothing is in service", [was_in_service], 0

        OUTB    0x21, 0xff
        OUTB    0xa1, 0xff
        ret

pic_init:
        PIC_INIT
        OUTB    0x21, 0xff
        OUTB    0xa1, 0xff
        ret

# A timer interrupt some 20 us from now; only the timer's line is let through.
timer_soon:
        OUTB    0x43, 0x30
        OUTB    0x40, 24
        OUTB    0x40, 0
        ret

WAIT_US

on_timer:
        inc     qword ptr [timer_count]
        mov     rax, [rdi + F_RIP]
        mov     [last_rip], rax
        mov     rax, [rdi + F_CS]
        mov     [last_cs], rax
        OUTB    0x20, 0x0b                      # read ISR
        in      al, 0x20
        and     eax, 1
        mov     [was_in_service], rax
        jz      1f
        OUTB    0x20, 0x20
1:      ret

on_keyboard:
        mov     rax, [timer_count]
        mov     [keyboard_after_timer], rax
        in      al, 0x60
        mov     [keyboard_byte], al
        OUTB    0x20, 0x20
        ret

on_rtc: inc     qword ptr [rtc_count]
        OUTB    0x70, 0x0c
        in      al, 0x71
        movzx   eax, al
        mov     [rtc_flags], rax
        OUTB    0xa0, 0x20
        OUTB    0x20, 0x20
        ret

.bss
timer_count: .skip 8
last_rip: .skip 8
last_cs: .skip  8
was_in_service: .skip 8
keyboard_after_timer: .skip 8
keyboard_byte: .skip 8
rtc_count: .skip 8
rtc_flags: .skip 8

.section .user
u_wait: sti
        xor     ecx, ecx
1:      inc     ecx
        cmp     ecx, 200000
        jb      1b
        cli
        int     0x80
u_wait_end:

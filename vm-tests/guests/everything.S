# Some of everything, for recordings: timers, serial port, keyboard, mouse, VGA text, PCI, CMOS, SSE and x87 on the first vCPU, a second
# one with its own timer and locked counters. It never ends by itself: 'r' on the serial port resets the machine, the power button
# switches it off.
.include "prelude.S"
.include "board.S"

.equ VGA, 0xb8000

# Mixes RAX into the hash in RBP.
.macro MIX
        xor     rbp, rax
        rol     rbp, 7
        imul    rbp, rbp, 0x01000193
.endm

main:
        PIC_INIT
        HOOK    0x20, on_timer
        HOOK    0x21, on_keyboard
        HOOK    0x24, on_serial
        HOOK    0x28, on_rtc
        HOOK    0x29, on_acpi
        HOOK    0x2c, on_mouse
        HOOK    0x61, on_local_timer
        # UART: 8n1, FIFOs, receive interrupt, OUT2.
        OUTDX   COM1 + 3, 0x03
        OUTDX   COM1 + 2, 0x01
        OUTDX   COM1 + 4, 0x0b
        OUTDX   COM1 + 1, 0x01
        # Keyboard and mouse.
        OUTB    0x64, 0xae
        OUTB    0x64, 0xa8
        OUTB    0x64, 0x60
        OUTB    0x60, 0x47
        OUTB    0x64, 0xd4
        OUTB    0x60, 0xf4
1:      in      al, 0x64
        test    al, 1
        jz      1b
        in      al, 0x60
        # ACPI: power button.
        OUTB    0xb2, 2
        mov     dx, 0x602
        mov     ax, 0x100
        out     dx, ax
        # 8254 at about 1 kHz, the RTC's periodic interrupt at 64 Hz, the HPET's counter.
        OUTB    0x43, 0x34
        OUTB    0x40, 0xa9
        OUTB    0x40, 0x04
        OUTB    0x70, 0x8a
        OUTB    0x71, 0x2a
        OUTB    0x70, 0x8b
        OUTB    0x71, 0x42
        mov     r8d, HPET
        mov     dword ptr [r8 + 0x10], 1
        # The second vCPU.
        START_COPY
        mov     ebx, LAPIC
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     dword ptr [rbx + 0x350], 0x700          # the 8259s through LINT0
        mov     dword ptr [rbx + 0x310], 0
        mov     dword ptr [rbx + 0x300], 0xc4500
        mov     ecx, 100
        call    wait_us
        mov     dword ptr [rbx + 0x300], 0xc4600 + (TRAMPOLINE >> 12)
        OUTB    0x21, 0xe8                      # lines 0, 1, 2, 4
        OUTB    0xa1, 0xec                      # lines 8, 9, 12
        mov     rbp, 0x811c9dc5
        fninit
        sti
2:      hlt
        call    look
        jmp     2b

# Waits about RCX microseconds of virtual time.
wait_us:
        imul    rcx, rcx, 1000
1:      pause
        loop    1b
        ret

# Mixes all clocks and some registers, computes, and shows something of it.
look:
        rdtsc
        MIX
        mov     r8d, HPET
        mov     eax, [r8 + 0xf0]
        MIX
        mov     dx, 0x608
        in      eax, dx
        MIX
        OUTB    0x43, 0x00
        in      al, 0x40
        mov     ah, al
        in      al, 0x40
        MIX
        mov     dx, 0xcf8
        mov     eax, 0x80000000
        out     dx, eax
        mov     dx, 0xcfc
        in      eax, dx
        MIX
        OUTB    0x70, 0x00
        in      al, 0x71
        MIX
        mov     rax, [counter]
        MIX
        # Vector and x87 units.
        cvtsi2sd xmm0, rbp
        sqrtsd  xmm1, xmm0
        addsd   xmm1, [sum]
        movsd   [sum], xmm1
        movsd   xmm2, [one]
        addsd   xmm2, xmm1
        mulpd   xmm2, xmm1
        movupd  [vector], xmm2
        mov     [word], rbp
        fild    qword ptr [word]
        fsin
        fadd    qword ptr [fsum]
        fstp    qword ptr [fsum]
        # A table in memory, the screen, and sometimes a letter on the serial port.
        inc     dword ptr [looks]
        mov     ecx, [looks]
        mov     eax, ecx
        and     eax, 2047
        mov     [table + rax*8], rbp
        mov     edx, ebp
        and     edx, 15
        add     edx, 0x1e41                     # yellow on blue, from A on
        and     eax, 1023
        mov     [VGA + rax*2], dx
        test    ecx, 7
        jnz     1f
        mov     al, dl
        mov     dx, COM1
        out     dx, al
1:      ret

on_timer:
        lock inc qword ptr [counter]
        OUTB    0x20, 0x20
        ret

on_rtc: OUTB    0x70, 0x0c
        in      al, 0x71
        inc     qword ptr [rtcs]
        OUTB    0xa0, 0x20
        OUTB    0x20, 0x20
        ret

on_serial:
1:      mov     dx, COM1 + 5
        in      al, dx
        test    al, 1
        jz      2f
        mov     dx, COM1
        in      al, dx
        inc     qword ptr [counter]
        cmp     al, 'r'
        jne     3f
        mov     al, 0xfe
        out     0x64, al
3:      out     dx, al
        jmp     1b
2:      mov     dx, COM1 + 2
        in      al, dx
        OUTB    0x20, 0x20
        ret

on_keyboard:
        in      al, 0x60
        movzx   eax, al
        lock add [counter], rax
        OUTB    0x20, 0x20
        ret

on_mouse:
        in      al, 0x60
        movzx   eax, al
        shl     eax, 8
        lock add [counter], rax
        OUTB    0xa0, 0x20
        OUTB    0x20, 0x20
        ret

on_acpi:
        mov     dx, 0x600
        in      ax, dx
        out     dx, ax                          # write 1 to clear
        test    ah, 1
        jz      1f
        mov     dx, 0x604
        mov     ax, 0x2000 + (5 << 10)          # S5
        out     dx, ax
1:      OUTB    0xa0, 0x20
        OUTB    0x20, 0x20
        ret

# The second vCPU: counts under LOCK until its own timer, looks again, halts now and then.
second_main:
        lidt    [idt_pointer]
        mov     ebx, LAPIC
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     dword ptr [rbx + 0x3e0], 0x3            # divide by 16
        mov     dword ptr [rbx + 0x320], 0x20061        # periodic, vector 61h
        mov     dword ptr [rbx + 0x380], 30000
        sti
1:      mov     ecx, 3000
2:      mov     eax, ecx
        lock xadd [counter], rax
        xor     [shared], rax
        pause
        loop    2b
        hlt
        jmp     1b

on_local_timer:
        mov     ebx, LAPIC
        inc     qword ptr [local_timers]
        mov     dword ptr [rbx + 0xb0], 0
        ret

START_BEGIN
        mov     esp, offset second_stack + 4096
START_END second_enter
second_enter:
        call    enter_long
.code64
        jmp     second_main

.data
.balign 16
one:    .double 1.0, 1.0

.bss
.balign 4096
second_stack: .skip 4096
table:  .skip   2048*8
.balign 16
vector: .skip   16
counter: .skip  8
shared: .skip   8
sum:    .skip   8
fsum:   .skip   8
word:   .skip   8
rtcs:   .skip   8
local_timers: .skip 8
looks:  .skip   8

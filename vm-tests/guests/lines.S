# Interrupt lines in detail: level-triggered I/O APIC entries with remote IRR, the 8259's modes, ExtINT through the
# local APIC, the 8254's modes and read-back, port 61h, MMIO corners.
.include "prelude.S"
.include "board.S"

main:
        mov     ebx, LAPIC
        mov     ebp, IOAPIC
        mov     r8d, HPET
        mov     dword ptr [rbx + 0xf0], 0x1ff
        HOOK    0x51, on_level
        HOOK    0x20, on_pic

        # 8259: initialise, mask all, read the mask back.
        call    pic_init
        OUTB    0x21, 0xa5
        in      al, 0x21
        movzx   eax, al
        CHECK   "mask of the 8259", rax, 0xa5
        OUTB    0x21, 0xff
        # ELCR: lines 0, 1, 2, 8, 13 are always edge triggered.
        mov     dx, 0x4d0
        mov     al, 0xff
        out     dx, al
        in      al, dx
        movzx   eax, al
        CHECK   "ELCR, fixed bits", rax, 0xf8
        xor     eax, eax
        out     dx, al

        # The 8259 through the local APIC: ExtINT at LINT0.
        mov     dword ptr [rbx + 0x350], 0x700
        OUTB    0x21, 0xfe
        call    timer_once
        sti
        hlt
        cli
        CHECK   "8259 through LINT0", [pic_count], 1
        mov     dword ptr [rbx + 0x350], 0x10700        # LINT0 masked: nothing comes
        call    timer_once
        mov     ecx, 100
        sti
        call    wait_us
        cli
        CHECK   "LINT0 masked", [pic_count], 1
        mov     dword ptr [rbx + 0x350], 0x700
        sti
        nop
        nop
        cli
        CHECK   "and comes when unmasked", [pic_count], 2

        # Poll: reading answers with the line and acknowledges it.
        OUTB    0x21, 0xff
        call    timer_once
        mov     ecx, 100
        call    wait_us
        OUTB    0x21, 0xfe
        OUTB    0x20, 0x0c
        in      al, 0x20
        movzx   eax, al
        CHECK   "poll", rax, 0x80
        OUTB    0x20, 0x0b
        in      al, 0x20
        movzx   eax, al
        CHECK   "in service after the poll", rax, 1
        OUTB    0x20, 0x60                      # specific EOI of line 0
        in      al, 0x20
        movzx   eax, al
        CHECK   "after the specific EOI", rax, 0
        OUTB    0x20, 0x0c
        in      al, 0x20
        movzx   eax, al
        shr     eax, 7
        CHECK   "poll without a request", rax, 0

        mov     dword ptr [rbx + 0x350], 0x10000

        # I/O APIC, level triggered: the line stays up, EOI brings the next.
        mov     rax, [r8]
        mov     rcx, [r8 + 0x100]
        shr     rcx, 32
        bsf     r10d, ecx
        lea     r11d, [r10*2 + 0x10]
        mov     [rbp], r11d
        mov     dword ptr [rbp + 0x10], 0x18051 # level, masked
        inc     r11d
        mov     [rbp], r11d
        mov     dword ptr [rbp + 0x10], 0
        dec     r11d
        mov     qword ptr [r8 + 0x10], 0
        mov     qword ptr [r8 + 0xf0], 0
        mov     eax, r10d
        shl     eax, 9
        or      eax, 6
        mov     [r8 + 0x100], rax
        mov     qword ptr [r8 + 0x108], 1000
        mov     qword ptr [r8 + 0x10], 1
        mov     ecx, 20
        call    wait_us
        mov     eax, [r8 + 0x20]
        CHECK   "HPET status", rax, 1
        mov     [rbp], r11d
        mov     eax, [rbp + 0x10]
        and     eax, 0x4000
        CHECK   "masked: no remote IRR", rax, 0
        mov     dword ptr [rbp + 0x10], 0x8051  # unmasked with the line up
        mov     eax, [rbp + 0x10]
        and     eax, 0x4000
        CHECK   "remote IRR", rax, 0x4000
        mov     qword ptr [level_quiet_at], 3   # the handler takes the line down the third time
        sti
        nop
        nop
        nop
        nop
        nop
        nop
        cli
        CHECK   "again after each EOI while the line is up", [level_count], 3
        mov     [rbp], r11d
        mov     eax, [rbp + 0x10]
        and     eax, 0x4000
        CHECK   "remote IRR clear in the end", rax, 0
        mov     eax, [rbx + 0x180 + 0x20]
        and     eax, 0x20000
        CHECK   "TMR says level", rax, 0x20000
        mov     qword ptr [r8 + 0x10], 0

        # 8254: latch, read-back, status, and modes.
        OUTB    0x43, 0xb6                      # channel 2, mode 3, both bytes
        OUTB    0x42, 0x00
        OUTB    0x42, 0x10
        in      al, 0x61
        and     al, 0xfc
        or      al, 1
        out     0x61, al                        # gate
        OUTB    0x43, 0xe8                      # read back status of channel 2
        in      al, 0x42
        and     eax, 0x3f
        CHECK   "status of channel 2", rax, 0x36
        OUTB    0x43, 0x80                      # latch
        in      al, 0x42
        mov     ah, al
        in      al, 0x42
        xchg    al, ah
        movzx   r12d, ax
        mov     ecx, 50
        call    wait_us
        OUTB    0x43, 0x80
        in      al, 0x42
        mov     ah, al
        in      al, 0x42
        xchg    al, ah
        movzx   eax, ax
        sub     r12d, eax
        cmp     r12d, 110                       # 50 us are 59 ticks, mode 3 counts by two
        setae   cl
        cmp     r12d, 140
        setbe   ch
        movzx   eax, cx
        CHECK   "mode 3 counts by two", rax, 0x101
        # Mode 0 on channel 2, as kernels calibrate by it: OUT in port 61h goes up at the end.
        in      al, 0x61
        and     al, 0xfc
        out     0x61, al
        OUTB    0x43, 0xb0
        OUTB    0x42, 100
        OUTB    0x42, 0
        in      al, 0x61
        or      al, 1
        out     0x61, al
        in      al, 0x61
        movzx   eax, al
        and     eax, 0x20
        CHECK   "OUT down while counting", rax, 0
        mov     ecx, 100
        call    wait_us
        in      al, 0x61
        movzx   eax, al
        and     eax, 0x20
        CHECK   "OUT up at the end", rax, 0x20
        # The refresh bit toggles.
        xor     r12d, r12d
        mov     ecx, 10000
1:      in      al, 0x61
        and     al, 0x10
        or      r12b, al
        xor     al, 0x10
        shl     al, 1
        or      r12b, al
        dec     ecx
        jnz     1b
        CHECK   "refresh bit seen both ways", r12, 0x30

        # A line as NMI wakes a CPU that halts with interrupts disabled: by the I/O APIC, by LINT0.
        HOOK    2, on_nmi
        mov     dword ptr [rbp], 0x15
        mov     dword ptr [rbp + 0x10], 0
        mov     dword ptr [rbp], 0x14
        mov     dword ptr [rbp + 0x10], 0x400
        call    timer_once
        hlt
        CHECK   "NMI by the I/O APIC", [nmi_count], 1
        mov     dword ptr [rbp], 0x14
        mov     dword ptr [rbp + 0x10], 0x10400
        mov     dword ptr [rbx + 0x350], 0x400
        OUTB    0x21, 0xfe
        call    timer_once
        hlt
        CHECK   "NMI by LINT0", [nmi_count], 2
        mov     dword ptr [rbx + 0x350], 0x10000
        OUTB    0x21, 0xff

        # Registers through MMIO with string instructions, read-modify-write, PUSH and POP.
        mov     dword ptr [rbx + 0x80], 0x10
        or      dword ptr [rbx + 0x80], 0x20
        mov     eax, [rbx + 0x80]
        CHECK   "OR to a register", rax, 0x30
        mov     eax, 0x30
        mov     ecx, 0x40
        lock cmpxchg [rbx + 0x80], ecx
        mov     eax, [rbx + 0x80]
        CHECK   "CMPXCHG of a register", rax, 0x40
        mov     dword ptr [rbx + 0x80], 0
        lea     rsi, [r8]
        mov     edi, offset copy
        mov     ecx, 2
        rep movsd
        mov     rax, [r8]
        CHECK   "REP MOVSD from registers", [copy], rax
        # Where nothing answers: all ones; writes are lost; code there is #UD.
        mov     r9d, 0xfea00000
        mov     eax, [r9]
        mov     ecx, 0xffffffff
        CHECK   "nothing answers", rax, rcx
        mov     dword ptr [r9], 0
        mov     eax, [r9]
        CHECK   "still nothing", rax, rcx
        movups  xmm0, [r9]
        movq    rax, xmm0
        CHECK   "16 bytes of nothing", rax, -1
        EXPECT  2f
        jmp     r9
2:      CHECK   "code of all ones", [ex_vec], V_UD
        mov     dx, 0x2345
        in      eax, dx
        CHECK   "a port that nothing answers", rax, rcx
        ret

pic_init:
        PIC_INIT
        OUTB    0x21, 0xff
        OUTB    0xa1, 0xff
        ret

timer_once:
        OUTB    0x43, 0x30
        OUTB    0x40, 24
        OUTB    0x40, 0
        ret

WAIT_US

on_pic: inc     qword ptr [pic_count]
        OUTB    0x20, 0x20
        ret

on_nmi: inc     qword ptr [nmi_count]
        ret

on_level:
        inc     qword ptr [level_count]
        mov     rax, [level_count]
        cmp     rax, [level_quiet_at]
        jb      1f
        mov     eax, HPET + 0x20
        mov     qword ptr [rax], 1
1:      mov     eax, LAPIC + 0xb0
        mov     dword ptr [rax], 0
        ret

.bss
pic_count: .skip 8
level_count: .skip 8
nmi_count: .skip 8
level_quiet_at: .skip 8
copy:   .skip   16

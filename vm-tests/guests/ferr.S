# x87 exceptions as MS-DOS programs take them, with CR0.NE clear: the instruction that waits asserts FERR#, which is IRQ 13,
# and a write to port F0h asserts IGNNE#.
.include "prelude.S"
.include "board.S"

.equ CR0_NE, 5
.equ PORT_COPROCESSOR, 0xf0

# Leaves an unmasked invalid operation pending.
.macro PENDING
        fninit
        fldcw   [unmasked]
        fldz
        fldz
        fdivp
.endm

main:
        PIC_INIT
        OUTB    0x21, 0xfb                      # the cascade,
        OUTB    0xa1, 0xdf                      # and line 13
        HOOK    0x2d, on_error
        HOOK    0x20, on_timer
        mov     rax, cr0
        btr     rax, CR0_NE
        mov     cr0, rax

        # Nothing comes before an instruction that waits.
        sti
        PENDING
        fnstsw  ax
        nop
        CHECK   "no interrupt before FWAIT", [errors], 0
at_fwait:
        fwait
        CHECK   "IRQ 13", [errors], 1
        mov     eax, offset at_fwait
        CHECK   "at FWAIT", [last_rip], rax
        mov     eax, [seen_status]
        and     eax, 0x81
        CHECK   "ES and IE in the handler", rax, 0x81
        CHECK   "instructions do not wait behind port F0h", [in_handler], 1

        # The next exception is reported again, by whatever waits: arithmetic, MMX.
        PENDING
at_fadd:
        fadd    st(0), st(0)
        CHECK   "IRQ 13 again", [errors], 2
        mov     eax, offset at_fadd
        CHECK   "at FADD", [last_rip], rax
        PENDING
at_mmx: paddb   mm0, mm0
        CHECK   "IRQ 13 for MMX", [errors], 3
        mov     eax, offset at_mmx
        CHECK   "at PADDB", [last_rip], rax
        emms

        # A handler that only writes the port: the exception stays, and is ignored until it is cleared.
        mov     byte ptr [keeps], 1
        PENDING
        fwait
        CHECK   "reported once", [errors], 4
        fld1
        fwait
        CHECK   "ignored from then on", [errors], 4
        fnstsw  ax
        movzx   eax, al
        and     eax, 0x81
        CHECK   "while it pends", rax, 0x81
        mov     byte ptr [keeps], 0
        PENDING
        fwait
        CHECK   "the next one is not ignored", [errors], 5

        # Without an exception the port does nothing to the next.
        OUTB    PORT_COPROCESSOR, 0
        PENDING
        fwait
        CHECK   "the port before the exception", [errors], 6

        # While IRQ 13 is masked other interrupts come, and return to the instruction.
        OUTB    0x21, 0xfa
        OUTB    0xa1, 0xff
        PENDING
        OUTB    0x43, 0x30
        OUTB    0x40, 100
        OUTB    0x40, 0
at_masked:
        fwait
        cli
        CHECK   "the timer, then IRQ 13", [errors], 7
        CHECK   "timer", [ticks], 1
        mov     eax, offset at_masked
        CHECK   "the timer came at FWAIT", [timer_rip], rax

        # With NE set it is #MF as ever.
        mov     rax, cr0
        bts     rax, CR0_NE
        mov     cr0, rax
        PENDING
        FAULT   "#MF", V_MF, 0, fwait
        OUTB    PORT_COPROCESSOR, 0
        FAULT   "#MF whatever the port", V_MF, 0, fwait
        fninit
        CHECK   "no IRQ 13 then", [errors], 7
        OUTB    0x21, 0xff
        OUTB    0xa1, 0xff
        ret

on_error:
        inc     qword ptr [errors]
        mov     rax, [rdi + F_RIP]
        mov     [last_rip], rax
        OUTB    PORT_COPROCESSOR, 0
        fnstsw  [seen_status]
        fwait
        mov     byte ptr [in_handler], 1
        cmp     byte ptr [keeps], 0
        jne     1f
        fnclex
1:      OUTB    0xa0, 0x20
        OUTB    0x20, 0x20
        ret

on_timer:
        inc     qword ptr [ticks]
        mov     rax, [rdi + F_RIP]
        mov     [timer_rip], rax
        OUTB    0xa1, 0xdf
        OUTB    0x20, 0x20
        ret

.data
unmasked: .word 0x37e

.bss
errors: .skip   8
ticks:  .skip   8
last_rip: .skip 8
timer_rip: .skip 8
in_handler: .skip 8
seen_status: .skip 8
keeps:  .skip   8

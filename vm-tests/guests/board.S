# The parts of the PC's board that several bare-metal guests use; included behind prelude.S.

.equ COM1, 0x3f8
.equ LAPIC, 0xfee00000
.equ IOAPIC, 0xfec00000
.equ HPET, 0xfed00000
.equ TRAMPOLINE, 0x8000      # where a SIPI starts a vCPU

.macro OUTB port, value
        mov     al, \value
        out     \port, al
.endm
.macro OUTDX port, value
        mov     dx, \port
        mov     al, \value
        out     dx, al
.endm

# Both 8259s: vectors 20h and 28h, cascaded at line 2, EOI by hand.
.macro PIC_INIT
        OUTB    0x20, 0x11
        OUTB    0xa0, 0x11
        OUTB    0x21, 0x20
        OUTB    0xa1, 0x28
        OUTB    0x21, 4
        OUTB    0xa1, 2
        OUTB    0x21, 1
        OUTB    0xa1, 1
.endm

# The function wait_us: waits ECX microseconds by the TSC; `relax` is executed in each round.
.macro WAIT_US relax
wait_us:
        push    rax
        push    rdx
        push    rbx
        imul    ecx, ecx, 1000
        rdtsc
        mov     ebx, eax
1:      \relax
        rdtsc
        sub     eax, ebx
        cmp     eax, ecx
        jb      1b
        pop     rbx
        pop     rdx
        pop     rax
        ret
.endm

# Puts the code between START_BEGIN and START_END below 1 MiB.
.macro START_COPY
        mov     esi, offset trampoline
        mov     edi, TRAMPOLINE
        mov     ecx, trampoline_end - trampoline
        rep movsb
.endm

# Where a SIPI starts: from real mode, CS = TRAMPOLINE >> 4, to 32-bit mode. What follows must give it a stack.
.macro START_BEGIN
.code16
trampoline:
        cli
        xor     ax, ax
        mov     ds, ax
        lgdt    [TRAMPOLINE + tramp_gdt - trampoline]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        .byte   0x66, 0xea                      # jmp KCODE32:protected
        .long   TRAMPOLINE + protected - trampoline
        .word   KCODE32
.code32
protected:
        mov     eax, KDATA32
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
.endm

# Goes on at `entry`, in 32-bit mode and where the guest was loaded.
.macro START_END entry
        mov     eax, offset \entry
        jmp     eax
        .balign 8
tramp_gdt:
        .word   gdt_end - gdt - 1
        .long   gdt
trampoline_end:
.endm

# What comes from outside: echoes serial bytes in upper case, notes keys (scan code set 1) and mouse bytes, and ends at
# the power button. Everything by interrupts.
.include "prelude.S"
.include "board.S"

main:
        PIC_INIT
        HOOK    0x21, on_keyboard
        HOOK    0x24, on_serial
        HOOK    0x29, on_acpi
        HOOK    0x2c, on_mouse
        # UART: 8n1, FIFOs, receive interrupt, OUT2.
        OUTDX   COM1 + 3, 0x03
        OUTDX   COM1 + 2, 0x01
        OUTDX   COM1 + 4, 0x0b
        OUTDX   COM1 + 1, 0x01
        # Keyboard and mouse: both ports on, with interrupts and translation; the mouse reports.
        OUTB    0x64, 0xae
        OUTB    0x64, 0xa8
        OUTB    0x64, 0x60
        call    wait_input
        OUTB    0x60, 0x47
        call    wait_input
        OUTB    0x64, 0xd4
        call    wait_input
        OUTB    0x60, 0xf4
1:      in      al, 0x64
        test    al, 1
        jz      1b
        in      al, 0x60
        movzx   eax, al
        CHECK   "the mouse's answer", rax, 0xfa
        # ACPI: power button.
        OUTB    0xb2, 2
        mov     dx, 0x602
        mov     ax, 0x100
        out     dx, ax
        OUTB    0x21, 0xe9                      # lines 1, 2, 4
        OUTB    0xa1, 0xed                      # lines 9, 12

        # Works for a while with interrupts on, then sleeps between them.
        sti
        xor     ecx, ecx
2:      inc     ecx
        cmp     ecx, 300000
        jb      2b
3:      cli
        cmp     byte ptr [button], 0
        jne     4f
        sti
        hlt
        jmp     3b
4:      CHECK   "serial bytes; what came before the FIFOs were enabled is gone", [serial_count], 20
        CHECK   "keyboard bytes: A down, A up, arrow up with its prefix", [key_count], 4
        mov     eax, [keys]
        mov     ecx, 0x48e09e1e
        CHECK   "scan codes of set 1", rax, rcx
        CHECK   "mouse bytes: the long way takes two packets", [mouse_count], 9
        mov     eax, [mouse]
        and     eax, 0xffffff
        CHECK   "first mouse packet", rax, 0xfd0529
        ret

wait_input:
        in      al, 0x64
        test    al, 2
        jnz     wait_input
        ret

on_serial:
1:      mov     dx, COM1 + 5
        in      al, dx
        test    al, 1
        jz      2f
        mov     dx, COM1
        in      al, dx
        inc     qword ptr [serial_count]
        cmp     al, 'a'
        jb      3f
        cmp     al, 'z'
        ja      3f
        sub     al, 0x20
3:      out     dx, al
        jmp     1b
2:      mov     dx, COM1 + 2
        in      al, dx
        OUTB    0x20, 0x20
        ret

on_keyboard:
        in      al, 0x60
        mov     rcx, [key_count]
        mov     [keys + rcx], al
        inc     qword ptr [key_count]
        OUTB    0x20, 0x20
        ret

on_mouse:
        in      al, 0x60
        mov     rcx, [mouse_count]
        mov     [mouse + rcx], al
        inc     qword ptr [mouse_count]
        OUTB    0xa0, 0x20
        OUTB    0x20, 0x20
        ret

on_acpi:
        mov     dx, 0x600
        in      ax, dx
        test    ah, 1
        jz      1f
        mov     byte ptr [button], 1
1:      out     dx, ax                          # write 1 to clear
        OUTB    0xa0, 0x20
        OUTB    0x20, 0x20
        ret

.bss
serial_count: .skip 8
key_count: .skip 8
mouse_count: .skip 8
keys:   .skip   64
mouse:  .skip   64
button: .skip   8

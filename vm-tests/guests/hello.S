# The harness itself: text, checks, recorded exceptions, the serial port, ring 3.
.include "prelude.S"

main:
        SAY_    "hello from 64-bit mode\n"
        CHECK   "a register", rax, rax
        mov     rax, 5
        CHECK   "an immediate", rax, 5
        FAULT   "UD2", V_UD, 0, ud2
        TRAP    "INT3", V_BP, 0, int3
        NOFAULT "NOP", nop
        USER    "INT 80h in ring 3", user_code, 0x80, 0, user_end
        CHECK   "came from ring 3", [ex_cs], UCODE
        mov     dx, 0x3f8
        mov     al, 'S'
        out     dx, al
        ret

.section .user
user_code:
        int     0x80
user_end:

# Real mode, unreal mode, 16-bit protected mode and v8086 mode.
.include "prelude.S"
.include "prelude32.S"

.equ DATA4G, KDATA32
.equ V86_STACK, 0x7000
.equ LOG, 0x600                 # where real-mode code leaves what it saw

main:   call    to_32
.code32
        mov     esi, offset real_start
        mov     edi, REAL
        mov     ecx, real_end - real_start
        rep movsb
        # Interrupt vectors: INT 60h, and #GP (13), #DE (0), #UD (6) for real mode.
        mov     dword ptr [0x60*4], REAL + int60 - real_start
        mov     dword ptr [13*4], REAL + real_gp - real_start
        mov     dword ptr [0*4], REAL + real_de - real_start
        mov     dword ptr [6*4], REAL + real_ud - real_start
        mov     dword ptr [0x700000], 0x12345678
        mov     [saved_esp], esp
        mov     dword ptr [LOG + 60], 0
        jmp     KCODE16:(REAL + to_real - real_start)
back_from_real:
        mov     eax, KDATA32
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     esp, [saved_esp]
        lidt    [idt32_pointer]
        CHECK32 "16-bit protected mode: SP wrapped", [LOG], 0xfffe
        CHECK32 "real mode: segment times 16", [LOG + 8], 0xbeef
        CHECK32 "real mode: INT", [LOG + 12], 0x60
        CHECK32 "real mode: IF and TF in the handler", [LOG + 16], 0
        CHECK32 "real mode: IF after IRET", [LOG + 20], 0x200
        CHECK32 "real mode: #GP of a word at FFFFh", [LOG + 24], 1
        CHECK32 "real mode: #DE points at DIV", [LOG + 28], REAL + div_at - real_start
        CHECK32 "real mode: #UD", [LOG + 32], 1
        CHECK32 "unreal mode: data above 1 MiB", [LOG + 36], 0x12345678
        CHECK32 "unreal mode: after loading a selector", [LOG + 40], 0x12345678
        CHECK32 "far call and return", [LOG + 44], 0x77
        CHECK32 "A20 on: 1 MiB by FFFF:0010", [LOG + 48], 0x1badb002
        mov     eax, [0]
        CHECK32 "A20 off: wraps to 0", [LOG + 52], eax
        CHECK32 "32-bit operands and addresses", [LOG + 56], 0x00020003
        CHECK32 "code ran to its end", [LOG + 60], 1

        # v8086 mode: code at 0900:0, INT 80h through the protected-mode gate, at ring 0.
        mov     byte ptr [idt32 + 0x60*8 + 5], 0xee
        EXPECT32 1f
        call    enter_v86
        .long   v86_int - real_start, 0x23202   # IOPL 3
1:      CHECK32 "INT from v8086: vector", [ex_vec], 0x60
        mov     eax, [ex_flags]
        and     eax, 0x20200
        CHECK32 "VM and IF in the frame", eax, 0x20200
        CHECK32 "CS of v8086", [ex_cs], REAL >> 4
        CHECK32 "SS of v8086", [ex_ss], V86_STACK >> 4
        CHECK32 "DS of v8086", [ex_ds], 0x1234
        CHECK32 "ES of v8086", [ex_es], 0x4321
        CHECK32 "IP of v8086", [ex_rip], v86_int_end - real_start
        EXPECT32 1f
        call    enter_v86
        .long   v86_int - real_start, 0x20202   # IOPL 0
1:      CHECK32 "INT at IOPL 0 of v8086: #GP", [ex_vec], V_GP
        CHECK32 "its error code", [ex_err], 0
        CHECK32 "its IP", [ex_rip], v86_int + 1 - real_start
        EXPECT32 1f
        call    enter_v86
        .long   v86_cli - real_start, 0x20202
1:      CHECK32 "CLI at IOPL 0 of v8086: #GP", [ex_vec], V_GP
        EXPECT32 1f
        call    enter_v86
        .long   v86_pushf - real_start, 0x23202
1:      CHECK32 "ended by HLT: #GP", [ex_vec], V_GP
        mov     eax, [V86_STACK + 0xffc]
        and     eax, 0xffff
        CHECK32 "flags pushed", eax, 0x3202
        EXPECT32 1f
        call    enter_v86
        .long   v86_lgdt - real_start, 0x23202
1:      CHECK32 "LLDT in v8086: #UD", [ex_vec], V_UD
        # VME: INT redirected to the vector table of the v8086 code, CLI acts on VIF.
        mov     eax, cr4
        or      eax, 1
        mov     cr4, eax
        call    vme_tss
        mov     word ptr [0x60*4], v86_handler - real_start
        mov     word ptr [0x60*4 + 2], REAL >> 4
        mov     dword ptr [LOG], 0
        EXPECT32 1f
        call    enter_v86
        .long   v86_vme - real_start, 0xa0202   # VIF set, IOPL 0
1:      CHECK32 "VME: ended by HLT", [ex_vec], V_GP
        CHECK32 "VME: its IP", [ex_rip], v86_vme_end - real_start
        CHECK32 "VME: handler ran", [LOG], 0x99
        mov     eax, [ex_flags]
        and     eax, 0x80200
        CHECK32 "VME: CLI cleared VIF, not IF", eax, 0x200
        mov     eax, cr4
        and     eax, ~1
        mov     cr4, eax
        call    to_64
.code64
        ret

# Enters v8086 mode at the offset and with the flags that follow the call.
.code32
enter_v86:
        pop     ebx
        push    0x5678                          # GS
        push    0x8765                          # FS
        push    0x1234                          # DS
        push    0x4321                          # ES
        push    V86_STACK >> 4
        push    0xffe
        push    dword ptr [ebx + 4]
        push    REAL >> 4
        push    dword ptr [ebx]
        iretd

# A TSS with a redirection map (32 bytes, all clear: redirect) and no ports.
vme_tss:
        mov     eax, offset vme
        mov     word ptr [gdt + TSS32], 104 + 32 + 1
        mov     [gdt + TSS32 + 2], ax
        shr     eax, 16
        mov     [gdt + TSS32 + 4], al
        mov     byte ptr [gdt + TSS32 + 5], 0x89
        mov     dword ptr [vme + 4], offset stack_ring0_top
        mov     dword ptr [vme + 8], KDATA32
        mov     word ptr [vme + 102], 104 + 32
        mov     eax, TSS32
        ltr     ax
        ret

# What follows is copied to REAL and runs there with CS = 0 (or REAL >> 4 in v8086 mode).
.code16
real_start:
to_real:
        mov     ax, KDATA16
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        # 16-bit protected mode: SP alone counts.
        mov     esp, 0x10000
        push    ax
        movzx   eax, sp
        mov     [LOG], eax
        xor     eax, eax
        mov     sp, 0x7000
        lidt    [REAL + real_idt - real_start]
        mov     eax, cr0
        and     al, 0xfe
        mov     cr0, eax
        jmp     0:(REAL + in_real - real_start)
in_real:
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     es, ax
        # Segment times 16.
        mov     ax, 0x0ff0
        mov     fs, ax
        mov     word ptr [0xff10], 0xbeef
        movzx   eax, word ptr fs:[0x10]
        mov     [LOG + 8], eax
        # INT and IRET.
        sti
        int     0x60
        pushf
        pop     ax
        and     eax, 0x200
        mov     [LOG + 20], eax
        cli
        # A word at FFFFh is beyond the limit.
        mov     dword ptr [LOG + 24], 0
        mov     ax, [0xffff]
gp_behind:
        # DIV by zero: a fault, the handler skips it.
        xor     cx, cx
div_at: div     cx
        mov     dword ptr [LOG + 32], 0
        ud2
ud_behind:
        # Unreal mode: a 4 GiB limit stays when PE goes.
        lgdt    [REAL + real_gdt - real_start]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        mov     cx, DATA4G
        mov     fs, cx
        and     al, 0xfe
        mov     cr0, eax
        mov     ebx, 0x700000
        mov     eax, fs:[ebx]
        mov     [LOG + 36], eax
        # Loading a selector changes the base, not the limit.
        mov     cx, 0x400
        mov     fs, cx
        mov     eax, fs:[ebx - 0x4000]
        mov     [LOG + 40], eax
        # Far call.
        call    0:(REAL + far_routine - real_start)
        mov     [LOG + 44], eax
        # A20.
        mov     ax, 0xffff
        mov     gs, ax
        mov     eax, gs:[0x10]
        mov     [LOG + 48], eax
        in      al, 0x92
        and     al, 0xfd
        out     0x92, al
        mov     eax, gs:[0x10]
        mov     [LOG + 52], eax
        in      al, 0x92
        or      al, 2
        out     0x92, al
        # Operand and address sizes.
        mov     eax, 0x00010001
        mov     ecx, 1
        lea     eax, [eax + ecx*2]
        add     eax, 0x00010000
        mov     [LOG + 56], eax
        mov     dword ptr [LOG + 60], 1
        # Back.
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        .byte   0x66, 0xea
        .long   back_from_real
        .word   KCODE32

int60:  mov     dword ptr [LOG + 12], 0x60
        pushf
        pop     ax
        and     eax, 0x300
        mov     [LOG + 16], eax
        iret
real_gp:
        inc     dword ptr [LOG + 24]
        mov     bp, sp
        mov     word ptr [bp], REAL + gp_behind - real_start
        iret
real_de:
        mov     bp, sp
        movzx   eax, word ptr [bp]
        mov     [LOG + 28], eax
        add     word ptr [bp], 2
        iret
real_ud:
        inc     dword ptr [LOG + 32]
        mov     bp, sp
        mov     word ptr [bp], REAL + ud_behind - real_start
        iret
far_routine:
        mov     eax, 0x77
        retf

v86_int:
        nop
        int     0x60
v86_int_end:
v86_cli: cli
v86_pushf:
        pushf
        hlt
v86_lgdt: .byte 0x0f, 0x00, 0xd0                # lldt ax
v86_vme:
        int     0x60
        cli
v86_vme_end:
        hlt
v86_handler:
        xor     ax, ax
        mov     ds, ax
        mov     word ptr [LOG], 0x99
        iret
        .balign 4
real_idt: .word 0x3ff
        .long   0
real_gdt: .word gdt_end - gdt - 1
        .long   gdt
real_end:

.bss
saved_esp: .skip 4
.balign 16
vme:    .skip   104 + 32 + 8
.text
.code64

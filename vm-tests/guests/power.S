# Ways to switch off and to reset: WAY says which.
#   0 ACPI power-off (PM1a control at 604h, SLP_TYP 5)   1 ACPI reset register (CF9h by the FADT)   2 CF9h, hard reset
#   3 port 92h   4 keyboard controller   5 triple fault   6 HLT with IF clear   7 exit status
.include "prelude.S"

main:
.if WAY == 0 || WAY == 1
        call    find_fadt
        test    rbx, rbx
        jz      no_table
.endif
.if WAY == 0
        mov     edx, [rbx + 64]                 # PM1a_CNT_BLK
        mov     eax, (5 << 10) | 0x2000
        out     dx, ax
.elseif WAY == 1
        test    dword ptr [rbx + 112], 1 << 10  # RESET_REG_SUP
        jz      no_table
        cmp     byte ptr [rbx + 116], 1         # system I/O
        jne     no_table
        mov     edx, [rbx + 120]
        mov     al, [rbx + 128]
        out     dx, al
.elseif WAY == 2
        mov     dx, 0xcf9
        mov     al, 2
        out     dx, al
        mov     al, 6
        out     dx, al
.elseif WAY == 3
        in      al, 0x92
        or      al, 1
        out     0x92, al
.elseif WAY == 4
        mov     al, 0xfe
        out     0x64, al
.elseif WAY == 5
        mov     word ptr [idt_pointer], 0
        lidt    [idt_pointer]
        ud2
.elseif WAY == 6
        cli
        hlt
.elseif WAY == 7
        mov     al, 0x21
        out     PORT_EXIT, al
.endif
        SAY_    "still here\n"
        jmp     finish
no_table:
        SAY_    "no such table or register\n"
        mov     al, 2
        out     PORT_EXIT, al

# The FADT into RBX, by RSDP in E0000h to FFFFFh and the XSDT; 0 if there is none.
find_fadt:
        mov     esi, 0xe0000
        mov     rax, 0x2052545020445352         # "RSD PTR "
1:      cmp     [rsi], rax
        je      2f
        add     esi, 16
        cmp     esi, 0x100000
        jb      1b
        xor     ebx, ebx
        ret
2:      mov     rdi, [rsi + 24]                 # XSDT
        mov     ecx, [rdi + 4]
        sub     ecx, 36
        shr     ecx, 3
3:      mov     rbx, [rdi + rcx*8 + 28]
        cmp     dword ptr [rbx], 0x50434146     # "FACP"
        je      4f
        dec     ecx
        jnz     3b
        xor     ebx, ebx
4:      ret

# Exceptions: vectors, error codes, what RIP and the flags are, priorities, double faults, IST.
.include "prelude.S"

.equ V, 0x40000000

main:
        mov     dword ptr [pdpt + 8], 0
        mov     rbx, V

        # Division.
        xor     ecx, ecx
        mov     eax, 5
        cdq
        FAULT   "DIV by zero", V_DE, 0, div ecx
        FAULT   "IDIV by zero", V_DE, 0, idiv ecx
        mov     edx, 1
        mov     ecx, 1
        FAULT   "DIV overflow", V_DE, 0, div ecx
        CHECK   "EAX after DIV faulted", rax, 5
        CHECK   "EDX after DIV faulted", rdx, 1
        mov     rax, 1 << 63
        cqo
        mov     rcx, -1
        FAULT   "IDIV of the least by -1", V_DE, 0, idiv rcx
        mov     ax, 0xff
        mov     cl, 1
        NOFAULT "DIV of bytes", div cl
        mov     ax, 0x100
        FAULT   "DIV of bytes, overflow", V_DE, 0, div cl

        # Undefined instructions.
        FAULT   "UD2", V_UD, 0, ud2
        FAULT   "UD1", V_UD, 0, .byte 0x0f, 0xb9, 0xc0
        FAULT   "UD0", V_UD, 0, .byte 0x0f, 0xff, 0xc0
        FAULT   "PUSH CS in 64-bit mode", V_UD, 0, .byte 0x0e
        FAULT   "DAA in 64-bit mode", V_UD, 0, .byte 0x27
        FAULT   "INTO in 64-bit mode", V_UD, 0, .byte 0xce
        FAULT   "far CALL in 64-bit mode", V_UD, 0, .byte 0x9a, 0, 0, 0, 0, 8, 0
        FAULT   "LOCK MOV", V_UD, 0, .byte 0xf0, 0x89, 0x03
        FAULT   "LOCK ADD of registers", V_UD, 0, .byte 0xf0, 0x01, 0xc0
        FAULT   "MOV to CS", V_UD, 0, .byte 0x8e, 0xc8
        FAULT   "MOV of CR1", V_UD, 0, .byte 0x0f, 0x20, 0xc8
        FAULT   "RSM", V_UD, 0, .byte 0x0f, 0xaa
        FAULT   "VMCALL", V_UD, 0, .byte 0x0f, 0x01, 0xc1
        FAULT   "LEA of a register", V_UD, 0, .byte 0x8d, 0xc0
        FAULT   "instruction of 16 bytes", V_GP, 0, .byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90
        NOFAULT "instruction of 15 bytes", .byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90

        # Traps.
        TRAP    "INT3", V_BP, 0, int3
        TRAP    "INT 3, two bytes", V_BP, 0, .byte 0xcd, 3
        TRAP    "ICEBP", V_DB, 0, .byte 0xf1
        TRAP    "INT 40h", 0x40, 0, int 0x40
        CHECK   "CS of the interrupt", [ex_cs], KCODE
        CHECK   "SS of the interrupt", [ex_ss], KDATA
        std
        TRAP    "INT 41h with DF", 0x41, 0, int 0x41
        mov     rax, [ex_flags]
        and     eax, 0x600
        CHECK   "DF and IF in the frame", rax, 0x400
        cld
        # RF is set in the frame of a fault, clear in that of a trap.
        FAULT   "UD2 for RF", V_UD, 0, ud2
        mov     rax, [ex_flags]
        and     eax, 0x10000
        CHECK   "RF of a fault", rax, 0x10000
        TRAP    "INT for RF", 0x40, 0, int 0x40
        mov     rax, [ex_flags]
        and     eax, 0x10000
        CHECK   "RF of a trap", rax, 0
        # The stack is aligned to 16 bytes before the frame.
        mov     r15, rsp
        sub     rsp, 5
        TRAP    "INT with an odd stack", 0x40, 0, int 0x40
        mov     rax, [ex_rsp]
        mov     rcx, rsp
        CHECK   "RSP in the frame", rax, rcx
        mov     rax, [ex_frame]
        and     eax, 15
        CHECK   "frame aligned", rax, 0
        mov     rsp, r15

        # Segment loads: #GP, #NP, #SS with the selector as error code.
        mov     eax, 0xfff8
        FAULT   "selector beyond the GDT", V_GP, 0xfff8, mov ds, eax
        xor     eax, eax                        # at power-on LDTR has base 0 and limit FFFFh
        lldt    ax
        mov     eax, 0x0c
        FAULT   "selector with no LDT", V_GP, 0x0c, mov ds, eax
        mov     eax, TSS_SEL
        FAULT   "TSS in DS", V_GP, TSS_SEL, mov ds, eax
        mov     qword ptr [gdt + FREE_SEL], 0
        mov     rax, 0x00cf13000000ffff         # data, not present
        mov     [gdt + FREE_SEL], rax
        mov     eax, FREE_SEL
        FAULT   "absent segment in DS", V_NP, FREE_SEL, mov ds, eax
        FAULT   "absent segment in SS", V_SS, FREE_SEL, mov ss, eax
        mov     eax, FREE_SEL + 3
        FAULT   "RPL 3 in SS", V_GP, FREE_SEL, mov ss, eax
        mov     eax, KCODE
        FAULT   "code in SS", V_GP, KCODE, mov ss, eax
        NOFAULT "readable code in DS", mov ds, eax
        xor     eax, eax
        NOFAULT "null in DS", mov ds, eax
        NOFAULT "null in SS at ring 0 of 64-bit mode", mov ss, eax
        mov     eax, 3
        FAULT   "null with RPL 3 in SS", V_GP, 0, mov ss, eax
        mov     eax, KDATA
        mov     ss, eax
        mov     ds, eax
        # MOV to a segment register sets the descriptor's accessed bit.
        mov     rax, 0x00cf92000000ffff
        mov     [gdt + FREE_SEL], rax
        mov     eax, FREE_SEL
        mov     fs, eax
        mov     rax, [gdt + FREE_SEL]
        mov     rcx, 0x00cf93000000ffff
        CHECK   "descriptor accessed", rax, rcx

        # Far returns and jumps.
        FAULT   "far jump to data", V_GP, KDATA, jmp fword ptr [far_data]
        FAULT   "far jump to null", V_GP, 0, jmp fword ptr [far_null]
        mov     rax, 0x00af1b000000ffff
        mov     [gdt + FREE_SEL + 8], rax
        FAULT   "far jump to absent code", V_NP, FREE_SEL + 8, jmp fword ptr [far_absent]
        mov     rax, 0x00ef9b000000ffff         # L and D both set
        mov     [gdt + FREE_SEL + 8], rax
        FAULT   "far jump to code with L and D", V_GP, FREE_SEL + 8, jmp fword ptr [far_absent]
        mov     eax, TSS_SEL
        FAULT   "LTR of a busy TSS", V_GP, TSS_SEL, ltr ax

        # IDT: absent, beyond its limit, of a wrong type. The error code names the vector.
        and     byte ptr [idt + 0x42*16 + 5], 0x7f
        FAULT   "absent gate", V_NP, 0x42*8 + 2, int 0x42
        or      byte ptr [idt + 0x42*16 + 5], 0x80
        mov     byte ptr [idt + 0x43*16 + 5], 0x85
        FAULT   "task gate in 64-bit mode", V_GP, 0x43*8 + 2, int 0x43
        mov     byte ptr [idt + 0x43*16 + 5], 0x8e
        mov     word ptr [idt + 0x43*16 + 2], KDATA
        FAULT   "gate to data", V_GP, KDATA, int 0x43
        mov     word ptr [idt + 0x43*16 + 2], 0
        FAULT   "gate with a null selector", V_GP, 0, int 0x43
        mov     word ptr [idt + 0x43*16 + 2], KCODE
        mov     word ptr [idt_pointer], 0x80*16 - 1
        lidt    [idt_pointer]
        FAULT   "vector beyond the IDT", V_GP, 0x81*8 + 2, int 0x81
        mov     word ptr [idt_pointer], 4095
        lidt    [idt_pointer]
        USER    "INT of a DPL 0 gate in ring 3", u_int, V_GP, 0x40*8 + 2, u_int
        USER    "INT3 of a DPL 0 gate in ring 3", u_int3, V_GP, 3*8 + 2, u_int3
        USER    "ICEBP in ring 3 ignores the DPL", u_icebp, V_DB, 0, u_icebp_end

        # #NM, #MF.
        mov     rax, cr0
        bts     rax, 3
        mov     cr0, rax
        FAULT   "FNOP with TS", V_NM, 0, fnop
        FAULT   "SSE with TS", V_NM, 0, movaps xmm0, xmm1
        NOFAULT "FWAIT with TS, without MP", call wait_without_mp
        clts
        bts     rax, 2
        btr     rax, 3
        mov     cr0, rax
        FAULT   "x87 with EM", V_NM, 0, fnop
        FAULT   "SSE with EM", V_UD, 0, movaps xmm0, xmm1
        btr     rax, 2
        mov     cr0, rax
        fninit
        mov     word ptr [fpu_control], 0x37b   # zero divide not masked
        fldcw   [fpu_control]
        fld1
        fldz
        NOFAULT "FDIV by zero itself", fdivp
        FAULT   "the next x87 instruction", V_MF, 0, fld1
        fnclex
        fninit
        FAULT   "MOVAPS not aligned", V_GP, 0, movaps xmm0, [user_page + 8]
        mov     rax, cr4
        btr     rax, 9
        mov     cr4, rax
        FAULT   "SSE without OSFXSR", V_UD, 0, movaps xmm0, xmm1
        bts     rax, 9
        mov     cr4, rax
        mov     dword ptr [fpu_control], 0x1d80 # SSE zero divide not masked
        ldmxcsr [fpu_control]
        xorps   xmm0, xmm0
        movaps  xmm1, [ones]
        FAULT   "#XM", 19, 0, divps xmm1, xmm0
        mov     dword ptr [fpu_control], 0x1f80
        ldmxcsr [fpu_control]
        mov     dword ptr [fpu_control], 0x10000
        FAULT   "reserved bit of MXCSR", V_GP, 0, ldmxcsr [fpu_control]

        # #AC only at ring 3.
        mov     rax, cr0
        bts     rax, 18
        mov     cr0, rax
        pushfq
        or      dword ptr [rsp], 0x40000
        popfq
        NOFAULT "misaligned at ring 0", mov eax, [user_page + 1]
        pushfq
        and     dword ptr [rsp], ~0x40000
        popfq
        USER    "misaligned at ring 3", u_misaligned, V_AC, 0, u_misaligned_at
        USER    "#AC before #PF of an absent page", u_ac_or_pf, V_AC, 0, u_ac_or_pf_at
        mov     rax, cr0
        btr     rax, 18
        mov     cr0, rax

        # Privileged instructions at ring 3.
        USER    "HLT in ring 3", u_hlt, V_GP, 0, u_hlt
        USER    "MOV CR0 in ring 3", u_cr0, V_GP, 0, u_cr0
        USER    "RDMSR in ring 3", u_rdmsr, V_GP, 0, u_rdmsr
        USER    "LGDT in ring 3", u_lgdt, V_GP, 0, u_lgdt
        USER    "WBINVD in ring 3", u_wbinvd, V_GP, 0, u_wbinvd

        # A fault in the delivery of another: double fault, on its own stack by IST.
        mov     byte ptr [idt + V_DF*16 + 4], 1
        and     byte ptr [idt + V_GP*16 + 5], 0x7f      # #GP handler absent: #NP, contributory both
        mov     r12, 0x800000000000
        FAULT   "#GP, then #NP", V_DF, 0, mov eax, [r12]
        mov     rax, [ex_frame]
        add     rax, 22*8
        mov     ecx, offset stack_ist1_top
        CHECK   "double fault on its IST stack", rax, rcx
        or      byte ptr [idt + V_GP*16 + 5], 0x80
        and     byte ptr [idt + V_PF*16 + 5], 0x7f
        FAULT   "#PF, then #NP", V_DF, 0, mov eax, [rbx]
        or      byte ptr [idt + V_PF*16 + 5], 0x80
        and     byte ptr [idt + V_UD*16 + 5], 0x7f
        FAULT   "#UD, then #NP: served one after the other", V_NP, V_UD*8 + 3, ud2
        or      byte ptr [idt + V_UD*16 + 5], 0x80
        # The handler's stack is absent: #PF while delivering #UD is a page fault.
        mov     qword ptr [tss + 0x2c], V + 0x1000      # IST2
        mov     byte ptr [idt + V_UD*16 + 4], 2
        FAULT   "#UD to an absent stack", V_PF, 2, ud2
        CHECK   "CR2 of the stack", [ex_cr2], V + 0xff8
        mov     byte ptr [idt + V_PF*16 + 4], 2
        FAULT   "#PF to an absent stack", V_DF, 0, mov eax, [rbx]
        mov     byte ptr [idt + V_PF*16 + 4], 0
        mov     byte ptr [idt + V_UD*16 + 4], 0
        # A stack that is not canonical: #SS, with error code 0.
        mov     rax, 0x900000000000
        mov     [tss + 0x2c], rax
        mov     byte ptr [idt + V_UD*16 + 4], 2
        mov     byte ptr [idt + V_SS*16 + 4], 1
        FAULT   "#UD to a stack that is not canonical", V_SS, 1, ud2
        mov     byte ptr [idt + V_UD*16 + 4], 0

        # Priorities: the fetch before the instruction, #UD before #GP, #GP of the address before #PF.
        FAULT   "#UD of LOCK before #PF", V_UD, 0, .byte 0xf0, 0x8b, 0x03
        USER    "#UD before privilege", u_mov_cr1, V_UD, 0, u_mov_cr1
        FAULT   "DIV by zero in memory reads first", V_PF, 0, div dword ptr [rbx]
        ret

wait_without_mp:
        mov     rcx, cr0
        btr     rcx, 1
        mov     cr0, rcx
        fwait
        bts     rcx, 1
        mov     cr0, rcx
        ret

.data
far_data: .long main
        .word   KDATA
far_null: .long main
        .word   0
far_absent: .long main
        .word   FREE_SEL + 8
        .balign 16
ones:   .float  1, 1, 1, 1
fpu_control: .long 0

.section .user
u_int:  int     0x40
u_int3: int3
u_icebp: .byte  0xf1
u_icebp_end:
u_misaligned:
        pushfq
        or      dword ptr [rsp], 0x40000
        popfq
u_misaligned_at:
        mov     eax, [user_page + 1]
u_ac_or_pf:
        pushfq
        or      dword ptr [rsp], 0x40000
        popfq
        mov     rbx, 0x40000001
u_ac_or_pf_at:
        mov     eax, [rbx]
u_hlt:  hlt
u_cr0:  mov     rax, cr0
u_rdmsr: rdmsr
u_lgdt: lgdt    [gdt_pointer]
u_wbinvd: wbinvd
u_mov_cr1: .byte 0x0f, 0x20, 0xc8

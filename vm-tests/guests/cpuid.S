# CPUID and model-specific registers: what is promised is there, what is not is #GP or #UD.
.include "prelude.S"

main:
        xor     eax, eax
        cpuid
        cmp     eax, 0x0d
        setae   r12b
        movzx   r12d, r12b
        CHECK   "leaves up to 0Dh at least", r12, 1
        mov     eax, 1
        cpuid
        mov     r13d, ecx
        mov     r14d, edx
        and     ecx, 0x00982201                 # SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT
        CHECK   "the level x86-64-v2", rcx, 0x00982201
        mov     edx, r14d
        and     edx, 0x07808151                 # FPU, PSE.., CX8, CMOV, MMX, FXSR, SSE, SSE2
        CHECK   "the level x86-64", rdx, 0x07808151
        bt      r13d, 30
        setc    al
        movzx   eax, al
        CHECK   "no RDRAND", rax, 0
        FAULT   "RDRAND", V_UD, 0, rdrand eax
        FAULT   "RDSEED", V_UD, 0, rdseed eax
        mov     eax, 7
        xor     ecx, ecx
        cpuid
        mov     r12d, ebx
.ifdef V3
        and     ebx, 0x128
        CHECK   "the level x86-64-v3: BMI1, AVX2, BMI2", rbx, 0x128
        NOFAULT "ANDN", andn eax, ecx, edx
        FAULT   "AVX without OSXSAVE", V_UD, 0, vaddps ymm0, ymm1, ymm2
.else
        and     ebx, 0x128
        CHECK   "nothing of x86-64-v3", rbx, 0
        FAULT   "ANDN", V_UD, 0, andn eax, ecx, edx
        mov     ecx, 8
        mov     eax, 0
        .byte   0xf3, 0x0f, 0xbc, 0xc1          # TZCNT is BSF
        CHECK   "TZCNT is BSF", rax, 3
        mov     ecx, 1
        .byte   0xf3, 0x0f, 0xbd, 0xc1          # LZCNT is BSR
        CHECK   "LZCNT is BSR", rax, 0
.endif
        FAULT   "EVEX", V_UD, 0, .byte 0x62, 0xf1, 0x74, 0x48, 0x58, 0xc2
        # OSXSAVE follows CR4.
        mov     eax, 1
        cpuid
        bt      ecx, 27
        setc    al
        movzx   eax, al
        CHECK   "OSXSAVE clear", rax, 0
        xor     ecx, ecx
        FAULT   "XGETBV without OSXSAVE", V_UD, 0, xgetbv
        mov     rax, cr4
        bts     rax, 18
        mov     cr4, rax
        mov     eax, 1
        cpuid
        bt      ecx, 27
        setc    al
        movzx   eax, al
        CHECK   "OSXSAVE set", rax, 1
        xor     ecx, ecx
        xgetbv
        CHECK   "XCR0 at reset", rax, 1
        mov     eax, 2
        xor     edx, edx
        FAULT   "XCR0 without x87", V_GP, 0, xsetbv
        mov     eax, 5
        FAULT   "XCR0 with AVX, without SSE", V_GP, 0, xsetbv
        mov     eax, 0x80000001
        FAULT   "XCR0 with unknown bits", V_GP, 0, xsetbv
        mov     ecx, 1
        mov     eax, 3
        FAULT   "XCR1", V_GP, 0, xsetbv
        xor     ecx, ecx
.ifdef V3
        mov     eax, 7
        NOFAULT "XCR0 with AVX", xsetbv
        NOFAULT "AVX", vaddps ymm0, ymm1, ymm2
        mov     eax, 0xd
        cpuid
        CHECK   "bytes of the XSAVE area", rbx, 832
.else
        mov     eax, 7
        FAULT   "XCR0 with AVX", V_GP, 0, xsetbv
        mov     eax, 3
        NOFAULT "XCR0 with SSE", xsetbv
        mov     eax, 0xd
        cpuid
        CHECK   "bytes of the XSAVE area", rbx, 576
.endif

        # MSRs that do not exist, and bad values for those that do.
        mov     ecx, 0xdead
        FAULT   "RDMSR of none", V_GP, 0, rdmsr
        FAULT   "WRMSR of none", V_GP, 0, wrmsr
        mov     ecx, 0x4b564d00
        FAULT   "RDMSR of KVM's clock", V_GP, 0, rdmsr
        mov     ecx, 0xc0000100
        xor     eax, eax
        mov     edx, 0x8000
        FAULT   "FS base not canonical", V_GP, 0, wrmsr
        mov     ecx, 0xc0000082
        FAULT   "LSTAR not canonical", V_GP, 0, wrmsr
        mov     ecx, 0xc0000080
        rdmsr
        or      eax, 2
        FAULT   "reserved bit of EFER", V_GP, 0, wrmsr
        rdmsr
        btr     eax, 8
        FAULT   "LME off while paging", V_GP, 0, wrmsr
        mov     ecx, 0x277
        mov     eax, 0x00070402
        xor     edx, edx
        FAULT   "PAT with a reserved type", V_GP, 0, wrmsr
        mov     ecx, 0x1b
        rdmsr
        and     eax, 0xfffff900
        mov     ecx, 0xfee00900
        CHECK   "APIC base: enabled, bootstrap processor", rax, rcx

        # FS and GS bases, SWAPGS, FSGSBASE.
        mov     ecx, 0xc0000101
        mov     eax, offset gs_data
        xor     edx, edx
        wrmsr
        mov     ecx, 0xc0000102
        mov     eax, offset gs_data + 8
        wrmsr
        CHECK   "GS base", gs:[0], 11
        swapgs
        CHECK   "SWAPGS", gs:[0], 22
        swapgs
        FAULT   "RDGSBASE without FSGSBASE", V_UD, 0, rdgsbase rax
        mov     rax, cr4
        bts     rax, 16
        mov     cr4, rax
        rdgsbase rax
        CHECK   "RDGSBASE", rax, offset gs_data
        mov     rax, 0x800000000000
        FAULT   "WRFSBASE not canonical", V_GP, 0, wrfsbase rax
        # A selector of data clears only its own base in 64-bit mode.
        mov     eax, KDATA
        mov     gs, eax
        rdgsbase rax
        CHECK   "base after a selector", rax, 0

        # Control registers.
        mov     rax, cr0
        btr     rax, 0
        FAULT   "PE off under PG", V_GP, 0, mov cr0, rax
        mov     rax, cr0
        bts     rax, 29
        FAULT   "NW without CD", V_GP, 0, mov cr0, rax
        mov     rax, 1 << 40
        FAULT   "upper half of CR0", V_GP, 0, mov cr0, rax
        mov     rax, cr4
        btr     rax, 5
        FAULT   "PAE off in 64-bit mode", V_GP, 0, mov cr4, rax
        mov     rax, cr4
        bts     rax, 31
        FAULT   "reserved bit of CR4", V_GP, 0, mov cr4, rax
        mov     eax, 0x10
        FAULT   "reserved bit of CR8", V_GP, 0, mov cr8, rax
        mov     rax, 1 << 60
        FAULT   "reserved bit of CR3", V_GP, 0, mov cr3, rax

        # UMIP and TSD at ring 3.
        USER    "SGDT in ring 3", u_sgdt, 0x80, 0, u_sgdt_end
        mov     rax, cr4
        bts     rax, 11
        bts     rax, 2
        mov     cr4, rax
        USER    "SGDT in ring 3 under UMIP", u_sgdt, V_GP, 0, u_sgdt
        USER    "SMSW in ring 3 under UMIP", u_smsw, V_GP, 0, u_smsw
        USER    "STR in ring 3 under UMIP", u_str, V_GP, 0, u_str
        USER    "RDTSC in ring 3 under TSD", u_rdtsc, V_GP, 0, u_rdtsc
        mov     rax, cr4
        btr     rax, 11
        btr     rax, 2
        mov     cr4, rax
        # TSC: goes on with instructions, can be set.
        mov     ecx, 0x10
        xor     eax, eax
        mov     edx, 1
        wrmsr
        rdtsc
        CHECK   "TSC set", rdx, 1
        mov     ecx, 0xc0000103
        mov     eax, 7
        xor     edx, edx
        wrmsr
        rdtscp
        CHECK   "TSC_AUX", rcx, 7
        ret

.data
gs_data: .quad  11, 22

.section .user
u_sgdt: sgdt    [user_buffer]
        int     0x80
u_sgdt_end:
u_smsw: smsw    eax
u_str:  str     eax
u_rdtsc: rdtsc
user_buffer: .skip 16

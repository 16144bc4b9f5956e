# Saved floating-point state: FXSAVE, XSAVE and its kin, lazy switching by TS, MXCSR and x87 state through them, faults.
.include "prelude.S"

main:
        fninit
        fldpi
        fld1
        mov     rax, 0x1122334455667788
        movq    xmm3, rax
        movq    xmm12, rax
        fxsave64 [area]
        movzx   eax, word ptr [area]
        CHECK   "control word", rax, 0x37f
        movzx   eax, word ptr [area + 2]
        CHECK   "status word: TOP is 6", rax, 0x3000
        movzx   eax, byte ptr [area + 4]
        CHECK   "tag bits", rax, 0xc0
        CHECK   "ST0", [area + 32], qword ptr [one]
        CHECK   "XMM3", [area + 160 + 48], qword ptr [pattern]
        CHECK   "XMM12", [area + 160 + 192], qword ptr [pattern]
        mov     eax, [area + 24]
        CHECK   "MXCSR", rax, 0x1f80
        fninit
        xorps   xmm3, xmm3
        fxrstor64 [area]
        fstp    qword ptr [number]
        mov     rax, [number]
        mov     rcx, 0x3ff0000000000000
        CHECK   "ST0 restored", rax, rcx
        movq    rax, xmm3
        CHECK   "XMM3 restored", rax, qword ptr [pattern]
        FAULT   "FXSAVE not aligned", V_GP, 0, fxsave64 [area + 8]
        mov     dword ptr [area + 24], 0x10000
        FAULT   "FXRSTOR with a bad MXCSR", V_GP, 0, fxrstor64 [area]
        mov     dword ptr [area + 24], 0x1f80

        # XSAVE.
        FAULT   "XSAVE without OSXSAVE", V_UD, 0, xsave64 [area]
        mov     rax, cr4
        bts     rax, 18
        mov     cr4, rax
        xor     ecx, ecx
        xor     edx, edx
.ifdef V3
        mov     eax, 7
        xsetbv
        vpcmpeqd ymm5, ymm5, ymm5
.else
        mov     eax, 3
        xsetbv
.endif
        mov     edi, offset area
        mov     ecx, 1024/8
        xor     eax, eax
        rep stosq
        mov     eax, -1
        mov     edx, -1
        xsave64 [area]
.ifdef V3
        CHECK   "XSTATE_BV", [area + 512], 7
        CHECK   "upper half of YMM5", [area + 576 + 80], -1
.else
        CHECK   "XSTATE_BV", [area + 512], 3
.endif
        CHECK   "XMM3 in the area", [area + 160 + 48], qword ptr [pattern]
        # A component not in XSTATE_BV comes back in its initial state.
        mov     qword ptr [area + 512], 1
        mov     eax, 7
        xor     edx, edx
        xrstor64 [area]
        movq    rax, xmm3
        CHECK   "XMM3 in its initial state", rax, 0
.ifdef V3
        vextractf128 xmm0, ymm5, 1
        movq    rax, xmm0
        CHECK   "YMM5 in its initial state", rax, 0
.endif
        # Not asked for: left alone.
        mov     rax, [pattern]
        movq    xmm4, rax
        mov     eax, 1
        xor     edx, edx
        xrstor64 [area]
        movq    rax, xmm4
        CHECK   "XMM4 left alone", rax, qword ptr [pattern]
        mov     qword ptr [area + 512], 0x100
        mov     eax, 1
        FAULT   "XRSTOR of an unknown component", V_GP, 0, xrstor64 [area]
        mov     qword ptr [area + 512], 1
        mov     qword ptr [area + 528], 1
        FAULT   "XRSTOR with a bad header", V_GP, 0, xrstor64 [area]
        mov     qword ptr [area + 528], 0
        FAULT   "XSAVE not aligned to 64", V_GP, 0, xsave64 [area + 16]
        FAULT   "XSAVE to an absent page", V_PF, 2, xsave64 [0x40000000]
        # Compacted form.
        mov     eax, 3
        xor     edx, edx
        xsavec64 [area]
        mov     rax, [area + 520]
        btr     rax, 63
        setc    cl
        movzx   ecx, cl
        CHECK   "compacted", rcx, 1
        CHECK   "XCOMP_BV", rax, 3
        xorps   xmm4, xmm4
        mov     eax, 3
        xrstor64 [area]
        movq    rax, xmm4
        CHECK   "XMM4 from the compacted area", rax, qword ptr [pattern]

        # Lazy switching: #NM once, the handler clears TS.
        HOOK    V_NM, on_nm
        mov     rax, cr0
        bts     rax, 3
        mov     cr0, rax
        movq    xmm4, rcx
        movq    xmm4, rcx
        CHECK   "one #NM", [nm_count], 1
        mov     rax, cr0
        bts     rax, 3
        mov     cr0, rax
        fnop
        CHECK   "x87, too", [nm_count], 2
        mov     rax, cr0
        bts     rax, 3
        mov     cr0, rax
        fwait                                   # with MP set
        CHECK   "FWAIT, too", [nm_count], 3

        # The x87's unmasked exceptions wait for the next instruction that looks for them.
        fninit
        mov     word ptr [number], 0x37e        # invalid operation not masked
        fldcw   [number]
        fldz
        fldz
        fdivp
        NOFAULT "FNSTSW does not look for them", fnstsw ax
        FAULT   "#MF at FWAIT", V_MF, 0, fwait
        fnclex
        fninit
        emms
        ret

on_nm:  inc     qword ptr [nm_count]
        clts
        ret

.data
.balign 16
one:    .quad   0x8000000000000000, 0x3fff
pattern: .quad  0x1122334455667788

.bss
.balign 64
area:   .skip   1024 + 64
number: .skip   8
nm_count: .skip 8

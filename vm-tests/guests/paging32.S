# Paging outside 64-bit mode: two levels with 4 MiB pages and PSE-36, and PAE with its four cached entries.
.include "prelude.S"
.include "prelude32.S"

.equ V, 0x40000000
.equ PA, 0x600000

main:   call    to_32
.code32
        # Two levels: 4 MiB pages for the first 16 MiB, a table at V.
        mov     eax, cr4
        or      eax, 0x10                       # PSE
        mov     cr4, eax
        mov     dword ptr [pdir], P_ + RW + PSZ
        mov     dword ptr [pdir + 4], 0x400000 + P_ + RW + PSZ + US
        mov     dword ptr [pdir + (V >> 20)], offset ptab + P_ + RW + US
        mov     dword ptr [ptab], PA + P_ + RW
        mov     dword ptr [PA], 0x1234
        mov     dword ptr [PA + 0x1000], 0x5678
        mov     eax, offset pdir
        mov     cr3, eax
        mov     eax, cr0
        or      eax, 0x80000000
        mov     cr0, eax
        CHECK32 "4 KiB page", [V], 0x1234
        CHECK32 "A of the PTE", [ptab], PA + P_ + RW + A_
        mov     eax, [pdir + (V >> 20)]
        and     eax, 0xfff
        CHECK32 "A of the PDE", eax, P_ + RW + US + A_
        mov     dword ptr [V + 4], 1
        CHECK32 "D of the PTE", [ptab], PA + P_ + RW + A_ + D_
        mov     eax, [pdir]
        and     eax, A_ + D_
        CHECK32 "A and D of a 4 MiB page", eax, A_ + D_
        FAULT32 "absent page", V_PF, 0, mov eax, [V + 0x1000]
        CHECK32 "CR2", [ex_cr2], V + 0x1000
        FAULT32 "absent PDE", V_PF, 2, mov [V + 0x400000], eax
        mov     dword ptr [ptab + 4], PA + 0x1000 + P_
        FAULT32 "read-only page", V_PF, 3, mov [V + 0x1000], eax
        CHECK32 "reading it", [V + 0x1000], 0x5678
        mov     eax, cr0
        and     eax, ~0x10000
        mov     cr0, eax
        NOFAULT32 "written without WP", mov [V + 0x1004], eax
        or      eax, 0x10000
        mov     cr0, eax
        # There is no NX here: EFER.NXE does nothing, and a fetch tells only of ring and presence.
        mov     byte ptr [PA + 0x100], 0xc3
        mov     ebx, V + 0x100
        NOFAULT32 "execution", call ebx
        mov     ebx, V + 0x2000
        EXPECT32 1f
        call    ebx
1:      CHECK32 "fetch from an absent page", [ex_err], 0
        # 4 MiB pages: PSE-36 puts address bits 32 and up into bits 13 to 20; bit 21 is reserved.
        mov     dword ptr [pdir + (V >> 20) + 4], 0x600000 & 0xffc00000 | P_ + RW + PSZ
        CHECK32 "4 MiB page at V", [V + 0x400000 + 0x200000], 0x1234
        mov     dword ptr [pdir + (V >> 20) + 4], 0x400000 | 0x200000 | P_ + RW + PSZ
        mov     eax, cr3
        mov     cr3, eax
        FAULT32 "reserved bit 21 of a 4 MiB page", V_PF, 9, mov eax, [V + 0x400000]
        # Without PSE the bit is ignored and the entry is a table's.
        mov     eax, cr4
        and     eax, ~0x10
        mov     dword ptr [pdir + (V >> 20) + 4], offset ptab + P_ + RW + PSZ
        xor     ecx, ecx
2:      mov     edx, ecx
        shl     edx, 12
        or      edx, P_ + RW
        mov     [low_table + ecx*4], edx
        inc     ecx
        cmp     ecx, 1024
        jne     2b
        mov     dword ptr [pdir], offset low_table + P_ + RW
        mov     ecx, cr3
        mov     cr3, ecx
        mov     cr4, eax
        CHECK32 "PS without PSE", [V + 0x400000], 0x1234
        # Ring 3.
        EXPECT32 1f
        push    UDATA
        push    USER_STACK
        push    0x3002
        push    UCODE32_
        push    offset u_read
        iretd
1:      WANT32  "user read of a supervisor page", V_PF, 5, u_read
        # Off again.
        mov     eax, cr0
        and     eax, 0x7fffffff
        mov     cr0, eax

        # PAE: the four entries are loaded, and checked, by MOV CR3 and the like.
        mov     eax, offset pdpt4
        mov     cr3, eax
        mov     eax, cr4
        or      eax, 0x20
        mov     cr4, eax
        mov     dword ptr [pdpt4], offset pae_low + P_
        mov     dword ptr [pdpt4 + 8], offset pae_v + P_
        mov     dword ptr [pae_low], P_ + RW + PSZ
        mov     dword ptr [pae_low + 8], 0x200000 + P_ + RW + PSZ
        mov     dword ptr [pae_low + 16], 0x400000 + P_ + RW + PSZ + US
        mov     dword ptr [pae_low + 24], 0x600000 + P_ + RW + PSZ
        mov     dword ptr [pae_v], offset pae_table + P_ + RW + US
        mov     dword ptr [pae_table], PA + P_ + RW
        mov     eax, cr0
        or      eax, 0x80000000
        mov     dword ptr [pdpt4 + 16], P_ + RW         # bit 1 is reserved
        FAULT32 "paging on with a reserved bit in a PDPTE", V_GP, 0, mov cr0, eax
        mov     dword ptr [pdpt4 + 16], 0
        NOFAULT32 "PAE on", mov cr0, eax
        CHECK32 "PAE, 4 KiB page", [V], 0x1234
        CHECK32 "A of the PAE entry", [pae_table], PA + P_ + RW + A_
        mov     eax, [pdpt4 + 8]
        and     eax, 0xfff
        CHECK32 "no A in a PDPTE", eax, P_
        # The entries in memory may change; the CPU keeps what it loaded.
        mov     dword ptr [pdpt4 + 8], 0
        mov     eax, V
        invlpg  [eax]
        CHECK32 "PDPTE changed in memory only", [V], 0x1234
        mov     eax, cr3
        mov     cr3, eax
        FAULT32 "PDPTE loaded anew", V_PF, 0, mov eax, [V]
        mov     dword ptr [pdpt4 + 8], offset pae_v + P_ + US
        mov     eax, cr3
        FAULT32 "MOV CR3 with a reserved bit in a PDPTE", V_GP, 0, mov cr3, eax
        FAULT32 "the old ones stay", V_PF, 0, mov eax, [V]
        mov     dword ptr [pdpt4 + 8], offset pae_v + P_
        mov     eax, cr3
        mov     cr3, eax
        # NX is in PAE entries.
        mov     dword ptr [pae_table + 4], 0x80000000
        mov     eax, V
        invlpg  [eax]
        mov     ebx, V + 0x100
        EXPECT32 1f
        call    ebx
1:      CHECK32 "fetch from an NX page", [ex_err], 0x11
        mov     dword ptr [pae_table + 4], 0x00100000   # bit 52
        mov     eax, V
        invlpg  [eax]
        FAULT32 "reserved bit of a PAE entry", V_PF, 9, mov eax, [V]
        mov     dword ptr [pae_table + 4], 0
        # A 2 MiB page.
        mov     dword ptr [pae_v + 8], 0x600000 + P_ + RW + PSZ
        CHECK32 "2 MiB page", [V + 0x201000], 0x5678
        mov     eax, cr0
        and     eax, 0x7fffffff
        mov     cr0, eax
        call    to_64
.code64
        ret

.bss
.balign 4096
pdir:   .skip   4096
ptab:   .skip   4096
low_table: .skip 4096
pae_low: .skip  4096
pae_v:  .skip   4096
pae_table: .skip 4096
.balign 32
pdpt4:  .skip   32

.section .user
.code32
u_read: mov     eax, [V]
.code64
.text

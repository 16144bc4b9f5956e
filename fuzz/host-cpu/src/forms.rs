//! Which instruction forms the campaign executes, and which not and why.

use iced_x86::{Code, EncodingKind, Mnemonic};
use x86::CpuModel;

/// Forms that the CPU model offers but the campaign leaves out, with the reason.
pub const EXCEPTIONS: &[(&[Mnemonic], &str)] = &[
    (
        &[Mnemonic::Syscall, Mnemonic::Sysenter, Mnemonic::Int, Mnemonic::Int1],
        "enters the host's kernel, which is not the guest's",
    ),
    (
        &[Mnemonic::Cpuid, Mnemonic::Xgetbv, Mnemonic::Rdtsc, Mnemonic::Rdtscp, Mnemonic::Rdpmc],
        "tells about the CPU or the time, which differ by design",
    ),
    (
        &[Mnemonic::Sgdt, Mnemonic::Sidt, Mnemonic::Sldt, Mnemonic::Smsw, Mnemonic::Str],
        "the host's kernel hides these (UMIP) and emulates some",
    ),
    (&[Mnemonic::Lar, Mnemonic::Lsl, Mnemonic::Verr, Mnemonic::Verw], "reads the host's descriptor tables"),
    (
        &[Mnemonic::Lds, Mnemonic::Les, Mnemonic::Lfs, Mnemonic::Lgs, Mnemonic::Lss],
        "loads segments from the host's descriptor tables",
    ),
    (
        &[Mnemonic::Iret, Mnemonic::Iretd, Mnemonic::Iretq, Mnemonic::Retf],
        "changes code segments; held by the guests of vm-tests",
    ),
    (
        &[Mnemonic::Xsave, Mnemonic::Xsave64, Mnemonic::Xsavec, Mnemonic::Xsavec64],
        "writes what the host's XCR0 and its tracking of unused components decide",
    ),
    (
        &[Mnemonic::Xsaveopt, Mnemonic::Xsaveopt64, Mnemonic::Xrstor, Mnemonic::Xrstor64],
        "depends on the host's XCR0 and on what was saved or restored last",
    ),
    (
        &[Mnemonic::Clzero, Mnemonic::Sysret, Mnemonic::Sysretq, Mnemonic::Sysexit, Mnemonic::Sysexitq, Mnemonic::Rsm],
        "privileged in ways that hypervisors below the host may answer themselves",
    ),
    (&[Mnemonic::Monitor, Mnemonic::Mwait], "whether ring 3 may use it is up to the host"),
    (&[Mnemonic::Db, Mnemonic::Dw, Mnemonic::Dd, Mnemonic::Dq], "data, not an instruction"),
];

/// Forms left out though others of their mnemonic are in.
const EXCEPTED_CODES: &[(&[Code], &str)] = &[
    (
        &[
            Code::Jmp_m1616,
            Code::Jmp_m1632,
            Code::Jmp_m1664,
            Code::Jmp_ptr1616,
            Code::Jmp_ptr1632,
            Code::Call_m1616,
            Code::Call_m1632,
            Code::Call_m1664,
            Code::Call_ptr1616,
            Code::Call_ptr1632,
        ],
        "changes code segments; held by the guests of vm-tests",
    ),
    (
        &[
            Code::Mov_Sreg_rm16,
            Code::Mov_Sreg_r32m16,
            Code::Mov_Sreg_r64m16,
            Code::Popw_FS,
            Code::Popd_FS,
            Code::Popq_FS,
            Code::Popw_GS,
            Code::Popd_GS,
            Code::Popq_GS,
            Code::Popw_CS,
            Code::Popw_DS,
            Code::Popd_DS,
            Code::Popw_ES,
            Code::Popd_ES,
            Code::Popw_SS,
            Code::Popd_SS,
        ],
        "loads segments from the host's descriptor tables",
    ),
];

/// Why the campaign leaves `code` out, if it does.
pub fn exception(code: Code) -> Option<&'static str> {
    let by_mnemonic = EXCEPTIONS.iter().find(|(all, _)| all.contains(&code.mnemonic())).map(|e| e.1);
    by_mnemonic.or_else(|| EXCEPTED_CODES.iter().find(|(all, _)| all.contains(&code)).map(|e| e.1))
}

/// True if `model` has everything that `code` needs.
pub fn offered(code: Code, model: CpuModel) -> bool {
    code.cpuid_features().iter().all(|&feature| model.offers(feature))
}

/// Every form that `model` offers in code of `bitness` bits, exceptions apart.
pub fn selected(model: CpuModel, bitness: u32) -> Vec<Code> {
    Code::values()
        .filter(|&code| {
            let info = code.op_code();
            // Where the vendors' decoders differ (operand size of branches in 64-bit mode), Intel's.
            let in_mode = match bitness {
                64 => info.mode64() && info.intel_decoder64(),
                _ => info.mode32() && info.intel_decoder32(),
            };
            let encodable = matches!(info.encoding(), EncodingKind::Legacy | EncodingKind::VEX);
            in_mode
                && encodable
                && info.is_instruction()
                // FINIT and the like are a WAIT and an FNINIT: two instructions.
                && !info.fwait()
                && info.decoder_option() == 0
                && offered(code, model)
                && exception(code).is_none()
        })
        .collect()
}

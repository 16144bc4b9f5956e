//! What is shown of the code that a vCPU stands at is what it executes, whatever its page tables are like.

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use machine::{EngineKind, Idle};
use vm_tests::{BareGuest, assemble};
use x86::InsnCount;

#[test]
fn the_code_that_is_shown_is_the_code_that_is_executed() {
    if !assemble::available("the code that is shown") {
        return;
    }
    // Real mode, 2-level tables with large pages, PAE, 4-level tables; `compat` has 16- and 32-bit segments.
    for source in ["realmode", "paging32", "paging64", "compat"] {
        let guest = BareGuest::new(source);
        let kernel = guest.kernel().expect("the guest is assembled");
        let mut machine = guest.machine(&kernel, EngineKind::Interpreter);
        let (mut looked, mut agreed, mut step) = (0, 0, 0);
        while looked < 20_000 {
            let code = machine.code_at(0);
            let mut decoder = Decoder::with_ip(code.bits, &code.bytes, code.rip, DecoderOptions::NONE);
            let instruction = decoder.decode();
            step += 1;
            machine.run(InsnCount(step), Idle::Jump);
            if machine.insn_count().0 < step {
                break;
            }
            if instruction.flow_control() == FlowControl::Next {
                let rip = machine.code_at(0).rip;
                looked += 1;
                // Faults go elsewhere, repeated instructions stay.
                agreed += u64::from([code.rip, instruction.next_ip()].contains(&rip));
            }
        }
        println!("{source}: {agreed} of {looked}");
        assert!(looked > 1000 && agreed * 100 >= looked * 97, "{source}: only {agreed} of {looked}");
    }
}

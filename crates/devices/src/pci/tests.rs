use super::*;
use crate::test_wires::TestWires;

const ECAM_BASE: u64 = 0xb000_0000;
const DATA: u16 = 4;

struct Bench {
    pci: PciHost,
    wires: TestWires,
}

impl Bench {
    fn new() -> Self {
        Bench { pci: PciHost::new(ECAM_BASE), wires: TestWires::default() }
    }

    fn read(&mut self, offset: u16, width: Width) -> u32 {
        self.pci.port_read(offset, width, VirtualTime::ZERO, &mut self.wires)
    }

    fn write(&mut self, offset: u16, width: Width, value: u32) {
        self.pci.port_write(offset, width, value, VirtualTime::ZERO, &mut self.wires);
    }

    fn config(&mut self, bus: u32, device: u32, register: u32) -> u32 {
        self.write(0, Width::Dword, 1 << 31 | bus << 16 | device << 11 | register);
        self.read(DATA, Width::Dword)
    }

    fn ecam(&mut self, offset: u64, width: Width) -> u64 {
        self.pci.mmio_read(offset, width, VirtualTime::ZERO, &mut self.wires)
    }
}

#[test]
fn linux_finds_configuration_mechanism_1() {
    let mut b = Bench::new();
    b.write(3, Width::Byte, 1);
    assert_eq!(b.read(0, Width::Byte), 0xff, "not mechanism 2");
    b.write(0, Width::Dword, 0x8000_0000);
    assert_eq!(b.read(0, Width::Dword), 0x8000_0000);
    assert_eq!(b.read(DATA, Width::Dword), 0x29c0_8086);
    b.write(0, Width::Dword, 0xffff_ffff);
    assert_eq!(b.read(0, Width::Dword), 0x80ff_fffc);
}

#[test]
fn bus_0_has_two_bridges() {
    let mut b = Bench::new();
    let found: Vec<(u32, u32)> =
        (0..32).map(|device| (device, b.config(0, device, 0))).filter(|&(_, id)| id != 0xffff_ffff).collect();
    assert_eq!(found, [(0, 0x29c0_8086), (31, 0x2918_8086)]);
    assert_eq!(b.config(0, 0, 8), 0x0600_0002);
    assert_eq!(b.config(0, 31, 8), 0x0601_0002);
    assert_eq!(b.config(0, 31, 0x40), 0x601);
    assert_eq!(b.config(1, 0, 0), 0xffff_ffff);
    b.write(DATA, Width::Dword, 0);
    b.write(0, Width::Dword, 0);
    assert_eq!(b.read(DATA, Width::Dword), 0xffff_ffff, "not enabled");
}

#[test]
fn parts_of_a_register() {
    let mut b = Bench::new();
    b.config(0, 0, 0);
    assert_eq!(b.read(DATA + 2, Width::Word), 0x29c0);
    assert_eq!(b.read(DATA + 1, Width::Byte), 0x80);
    assert_eq!(b.read(DATA + 1, Width::Word), 0xc080);
    assert_eq!(b.read(DATA + 1, Width::Dword), 0xff29_c080, "the last port is nobody's");
    b.config(0, 31, 0x60);
    b.write(DATA + 1, Width::Byte, 0xff);
    assert_eq!(b.read(DATA, Width::Dword), 0x8080_8f80);
    b.config(0, 0, 4);
    b.write(DATA, Width::Dword, 0);
    assert_eq!(b.read(DATA, Width::Dword), 6, "read-only bits stay");
}

#[test]
fn ecam_shows_the_same() {
    let mut b = Bench::new();
    assert_eq!(b.ecam(0, Width::Dword), 0x29c0_8086);
    assert_eq!(b.ecam(0x60, Width::Qword), ECAM_BASE | 1);
    assert_eq!(b.ecam(0x1f << 15 | 2, Width::Word), 0x2918);
    assert_eq!(b.ecam(0x100, Width::Dword), 0xffff_ffff, "no extended space");
    assert_eq!(b.ecam(1 << 15, Width::Qword), u64::MAX);
    assert_eq!(b.ecam(0xfff, Width::Dword), 0xffff_ffff);
    assert_eq!(b.ecam(ECAM_LEN - 8, Width::Qword), u64::MAX);
    b.pci.mmio_write(0x1f << 15 | 0x62, Width::Byte, 0x0b, VirtualTime::ZERO, &mut b.wires);
    assert_eq!(b.config(0, 31, 0x60), 0x800b_8080);
}

struct OneCard(ConfigSpace);

impl PciSlots for OneCard {
    fn function(&mut self, at: FunctionAddress) -> Option<&mut dyn PciFunction> {
        (at == FunctionAddress { bus: 0, devfn: 2 << 3 }).then_some(&mut self.0)
    }
}

#[test]
fn a_card_can_be_plugged_in() {
    let mut b = Bench::new();
    let mut card = OneCard(ConfigSpace::new(0x1af4, 0x1042, 0x01_0000, 1));
    let mut view = b.pci.with_slots(&mut card);
    view.port_write(0, Width::Dword, 0x8000_1000, VirtualTime::ZERO, &mut b.wires);
    assert_eq!(view.port_read(DATA, Width::Dword, VirtualTime::ZERO, &mut b.wires), 0x1042_1af4);
    assert_eq!(view.mmio_read(2 << 15, Width::Word, VirtualTime::ZERO, &mut b.wires), 0x1af4);
}

#[test]
fn saved_identities_must_match() {
    let mut b = Bench::new();
    let state = b.pci.save();
    let mut wrong = state.clone();
    wrong.isa_bridge[2] ^= 1;
    assert!(b.pci.restore(wrong).is_err());
    assert_eq!(b.pci.restore(state), Ok(()));
}

#[test]
fn conformance() {
    use crate::conformance::{check, mmio_step, port_step};
    check(
        || PciHost::new(ECAM_BASE),
        |pci, mut step| match step.rng.below(4) {
            0 => {
                let device = step.rng.pick(&[0, 0, 31, 31, 7]) as u32;
                let address = 1 << 31 | device << 11 | (step.rng.below(256) as u32);
                pci.port_write(0, Width::Dword, address, *step.now, step.trace);
            }
            1 => mmio_step(pci, 256, &mut step),
            _ => port_step(pci, &(0..8).collect::<Vec<_>>(), &mut step),
        },
    );
}

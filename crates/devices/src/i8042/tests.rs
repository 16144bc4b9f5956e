use super::*;
use crate::test_wires::TestWires;

#[derive(Default)]
struct Bench {
    kbc: I8042,
    wires: TestWires,
}

impl Bench {
    fn read(&mut self, port: u16) -> u8 {
        self.kbc.port_read(port - DATA_PORT, Width::Byte, VirtualTime::ZERO, &mut self.wires) as u8
    }

    fn write(&mut self, port: u16, value: u8) {
        self.kbc.port_write(port - DATA_PORT, Width::Byte, u32::from(value), VirtualTime::ZERO, &mut self.wires);
    }

    /// Everything that can be read, with the status bit that says whose it is.
    fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.read(0x64) & 1 != 0 {
            bytes.push(self.read(0x60));
        }
        bytes
    }

    fn command(&mut self, command: u8, argument: u8) {
        self.write(0x64, command);
        self.write(0x60, argument);
    }

    fn mouse_command(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|&byte| self.command(0xd4, byte));
        self.drain()
    }

    fn keyboard_command(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|&byte| self.write(0x60, byte));
        self.drain()
    }
}

#[test]
fn the_controller_tests_itself_and_its_lines() {
    let mut b = Bench::default();
    assert_eq!(b.read(0x64), 0x14);
    for (command, answer) in [(0xaa, 0x55), (0xab, 0x00), (0xa9, 0x00), (0x20, 0x65), (0xd0, 0xc3)] {
        b.write(0x64, command);
        assert_eq!(b.read(0x64), 0x1d);
        assert_eq!(b.drain(), [answer], "{command:#x}");
    }
    b.command(0x60, 0x47);
    b.write(0x64, 0x20);
    assert_eq!(b.drain(), [0x47]);
    b.write(0x64, 0xa7);
    b.write(0x64, 0xad);
    b.write(0x64, 0x20);
    assert_eq!(b.drain(), [0x77]);
    b.command(0x7f, 0x99);
    b.write(0x64, 0x3f);
    assert_eq!(b.drain(), [0x99]);
}

#[test]
fn linux_finds_an_aux_port_without_a_multiplexer() {
    let mut b = Bench::default();
    b.command(0x60, 0x47);
    for byte in [0x5a, 0xf0, 0x56, 0xa4] {
        b.command(0xd3, byte);
        assert_eq!(b.read(0x64) & 0x21, 0x21, "from the mouse");
        assert_eq!(b.wires.take_rises(12), 1);
        assert_eq!(b.drain(), [byte]);
    }
    assert_eq!(b.wires.take_rises(1), 0);
}

#[test]
fn a20_and_reset() {
    let mut b = Bench::default();
    b.command(0xd1, 0xdd);
    assert_eq!(b.wires.a20, Some(false));
    b.write(0x64, 0xd0);
    assert_eq!(b.drain(), [0xc1]);
    b.command(0xd1, 0xdf);
    assert_eq!(b.wires.a20, Some(true));
    b.write(0x64, 0xdd);
    assert_eq!(b.wires.a20, Some(false));
    b.kbc.observe_a20(true);
    b.write(0x64, 0xd0);
    assert_eq!(b.drain(), [0xc3]);
    b.write(0x64, 0xff);
    assert!(b.wires.power.is_empty());
    b.write(0x64, 0xfe);
    b.command(0xd1, 0xfe);
    assert_eq!(b.wires.power, [PowerEvent::Reset; 2]);
}

#[test]
fn keys_come_translated_with_an_edge_for_each_byte() {
    let mut b = Bench::default();
    assert!(b.kbc.key(&[0x1c], &mut b.wires));
    assert!(b.kbc.key(&[0xf0, 0x1c], &mut b.wires));
    assert!(b.kbc.key(&[0xe0, 0x75], &mut b.wires));
    assert!(b.kbc.key(&[0xe0, 0xf0, 0x75], &mut b.wires));
    assert!(b.wires.level(1));
    assert_eq!(b.drain(), [0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8]);
    assert_eq!(b.wires.take_rises(1), 6);
    assert!(!b.wires.level(1));
    assert_eq!(b.read(0x60), 0xc8, "an empty buffer keeps its last byte");
}

#[test]
fn scan_sets() {
    let mut b = Bench::default();
    b.command(0x60, 0x25); // no translation
    assert_eq!(b.keyboard_command(&[0xf0, 0x00]), [0xfa, 0xfa, 0x02]);
    b.kbc.key(&[0xf0, 0x1c], &mut b.wires);
    assert_eq!(b.drain(), [0xf0, 0x1c]);
    assert_eq!(b.keyboard_command(&[0xf0, 0x01]), [0xfa, 0xfa]);
    b.kbc.key(&[0xf0, 0x1c], &mut b.wires);
    assert_eq!(b.drain(), [0x9e]);
    assert_eq!(b.keyboard_command(&[0xf0, 0x03]), [0xfa, 0xfe], "no set 3");
    b.command(0x60, 0x65);
    assert_eq!(b.keyboard_command(&[0xff]), [0xfa, 0xaa]);
    assert_eq!(b.keyboard_command(&[0xf0, 0x00]), [0xfa, 0xfa, 0x41], "2, translated");
}

#[test]
fn keyboard_commands() {
    let mut b = Bench::default();
    assert_eq!(b.keyboard_command(&[0xf2]), [0xfa, 0xab, 0x41], "AB 83, translated");
    assert_eq!(b.keyboard_command(&[0xed, 0x07]), [0xfa, 0xfa]);
    assert_eq!(b.keyboard_command(&[0xf3, 0x20]), [0xfa, 0xfa]);
    assert_eq!(b.keyboard_command(&[0xed, 0xf4]), [0xfa, 0xfa], "a command in place of the argument");
    assert_eq!(b.keyboard_command(&[0xee]), [0xee]);
    assert_eq!(b.keyboard_command(&[0x01]), [0xfe]);
    assert_eq!(b.keyboard_command(&[0xf5]), [0xfa]);
    assert!(!b.kbc.key(&[0x1c], &mut b.wires));
    assert_eq!(b.keyboard_command(&[0xf4]), [0xfa]);
    assert!(b.kbc.key(&[0x1c], &mut b.wires));
    b.write(0x64, 0xad);
    b.kbc.key(&[0x32], &mut b.wires);
    assert_eq!(b.drain(), [0x1e], "switched off, the second key waits");
    b.write(0x64, 0xae);
    assert_eq!(b.drain(), [0x30]);
}

#[test]
fn the_keyboard_buffer_is_bounded_and_takes_whole_keys() {
    let mut b = Bench::default();
    let taken = (0..1000).filter(|_| b.kbc.key(&[0xe0, 0x75], &mut b.wires)).count();
    assert_eq!(taken, 128);
    assert_eq!(b.drain().len(), 256);
}

#[test]
fn a_mouse_reports_motion_and_buttons() {
    let mut b = Bench::default();
    b.command(0x60, 0x47);
    assert_eq!(b.mouse_command(&[0xff]), [0xfa, 0xaa, 0x00]);
    b.kbc.mouse(5, 5, 0, 1, &mut b.wires);
    assert_eq!(b.drain(), [0_u8; 0], "not before it is asked to");
    assert_eq!(b.mouse_command(&[0xf2]), [0xfa, 0x00]);
    assert_eq!(b.mouse_command(&[0xf4]), [0xfa]);
    b.wires.take_rises(12);
    b.kbc.mouse(3, -2, 1, 0, &mut b.wires);
    assert_eq!(b.drain(), [0x28, 3, 0xfe]);
    assert_eq!(b.wires.take_rises(12), 3);
    b.kbc.mouse(-300, 0, 0, 2, &mut b.wires);
    assert_eq!(b.drain(), [0x1a, 0x01, 0, 0x1a, 0xd3, 0]);
    assert_eq!(b.mouse_command(&[0xe9]), [0xfa, 0x21, 0x02, 100]);
}

#[test]
fn the_wheel_comes_with_the_knock() {
    let mut b = Bench::default();
    b.command(0x60, 0x47);
    assert_eq!(b.mouse_command(&[0xf3, 200, 0xf3, 100, 0xf3, 80]), [0xfa; 6]);
    assert_eq!(b.mouse_command(&[0xf2]), [0xfa, 0x03]);
    assert_eq!(b.mouse_command(&[0xf4]), [0xfa]);
    b.kbc.mouse(0, 0, -1, 0, &mut b.wires);
    assert_eq!(b.drain(), [0x08, 0, 0, 0xff]);
    assert_eq!(b.mouse_command(&[0xf0, 0xeb]), [0xfa, 0xfa, 0x08, 0, 0, 0]);
    assert_eq!(b.mouse_command(&[0xff]), [0xfa, 0xaa, 0x00]);
    assert_eq!(b.mouse_command(&[0xf2]), [0xfa, 0x00]);
}

#[test]
fn conformance() {
    use crate::conformance::{check, port_step};
    check(I8042::new, |kbc, mut step| match step.rng.below(6) {
        0 => {
            let code: [&[u8]; 3] = [&[0x1c], &[0xf0, 0x1c], &[0xe0, 0xf0, 0x75]];
            let taken = kbc.key(code[step.rng.below(3) as usize], step.trace);
            step.trace.note(taken);
        }
        1 => {
            let [x, y, z] = [0; 3].map(|_: i32| step.rng.value() as i32);
            kbc.mouse(x, y, z, step.rng.next() as u8, step.trace);
        }
        2 => {
            // A command of those that mean something, and an argument.
            let command = step.rng.pick(&[0x20, 0x60, 0xa7, 0xa8, 0xaa, 0xad, 0xae, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4]);
            kbc.port_write(4, Width::Byte, command, *step.now, step.trace);
            let argument = step.rng.pick(&[0xff, 0xf4, 0xf3, 200, 100, 80, 0xeb, 0xe9, 0xf0, 0x47, 0x00]);
            kbc.port_write(0, Width::Byte, argument, *step.now, step.trace);
        }
        _ => port_step(kbc, &[0, 4], &mut step),
    });
}

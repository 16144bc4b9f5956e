use super::*;
use crate::test_wires::TestWires;

struct Bench {
    uart: Uart,
    wires: TestWires,
    now: VirtualTime,
}

impl Bench {
    fn new() -> Self {
        Bench { uart: Uart::new(UartConfig::default()), wires: TestWires::default(), now: VirtualTime::ZERO }
    }

    fn read(&mut self, offset: u16) -> u8 {
        self.uart.port_read(offset, Width::Byte, self.now, &mut self.wires) as u8
    }

    fn write(&mut self, offset: u16, value: u8) {
        self.uart.port_write(offset, Width::Byte, u32::from(value), self.now, &mut self.wires);
    }

    fn receive(&mut self, byte: u8) -> bool {
        self.uart.receive(byte, self.now, &mut self.wires)
    }

    fn irq(&self) -> bool {
        self.wires.level(4)
    }
}

#[test]
fn linux_takes_it_for_a_16550a() {
    let mut b = Bench::new();
    b.write(1, 0);
    assert_eq!(b.read(1), 0);
    b.write(1, 0x0f);
    assert_eq!(b.read(1), 0x0f);
    b.write(1, 0);
    b.write(4, 0x1a); // loopback, OUT2, RTS
    assert_eq!(b.read(6) & 0xf0, 0x90);
    b.write(4, 0);
    b.write(2, 0x01);
    assert_eq!(b.read(2) >> 6, 3, "FIFOs work: 16550A or later");
    for lcr in [0x80, 0xbf, 0xe0] {
        b.write(3, lcr);
        assert_eq!(b.read(2), 0xc1, "no enhanced feature register");
    }
    b.write(2, 0x21);
    assert_eq!(b.read(2) >> 5, 6, "no 64-byte FIFO");
    b.write(3, 0);
    b.write(1, 0x40);
    assert_eq!(b.read(1), 0, "no XScale unit enable");
}

#[test]
fn the_fifo_measures_sixteen_bytes_in_loopback() {
    let mut b = Bench::new();
    b.write(2, 0x07);
    b.write(4, 0x10);
    (0..=255).for_each(|byte| b.write(0, byte));
    assert_eq!(b.read(5), 0x63, "data, overrun, transmitter empty");
    let mut count = 0;
    while b.read(5) & 1 != 0 {
        assert_eq!(b.read(0), count);
        count += 1;
    }
    assert_eq!(count, 16);
    assert!(b.wires.output.is_empty(), "nothing leaves in loopback");
    assert!(!b.receive(1) && !b.uart.can_receive(), "nor comes in");
    assert_eq!(b.read(5), 0x60);
}

#[test]
fn enabling_the_thre_interrupt_raises_it_and_reading_iir_clears_it() {
    let mut b = Bench::new();
    for _ in 0..2 {
        b.write(1, 0x02);
        assert!(b.irq());
        assert_eq!(b.read(2), 0x02);
        assert!(!b.irq());
        assert_eq!(b.read(2), 0x01);
        b.write(1, 0);
    }
    b.write(1, 0x02);
    b.read(2);
    b.write(0, b'x');
    assert!(b.irq(), "and so does a byte that has left");
    assert_eq!(b.wires.output, [(OutputChannel::Serial, b'x')]);
    b.write(0, b'y');
    b.write(1, 0);
    assert!(!b.irq());
}

#[test]
fn the_received_interrupt_follows_the_trigger_level() {
    let mut b = Bench::new();
    b.write(2, 0x41); // trigger at 4
    b.write(1, 0x01);
    (0..3).for_each(|byte| assert!(b.receive(byte)));
    assert!(!b.irq());
    b.receive(3);
    assert!(b.irq());
    assert_eq!(b.read(2), 0xc4);
    assert_eq!(b.read(0), 0);
    assert!(!b.irq(), "below the trigger level");
}

#[test]
fn characters_left_below_the_trigger_time_out() {
    let mut b = Bench::new();
    b.write(3, 0x80);
    b.write(0, 1);
    b.write(1, 0);
    b.write(3, 0x03); // 115200 8N1
    b.write(2, 0xc1);
    b.write(1, 0x01);
    assert_eq!(b.uart.deadline(), VirtualTime::NEVER);
    b.receive(b'a');
    b.receive(b'b');
    let deadline = b.uart.deadline();
    assert_eq!(deadline, VirtualTime::from_ns(4 * 86_805));
    b.now = VirtualTime::from_units(deadline.units() - 1);
    b.uart.advance(b.now, &mut b.wires);
    assert!(!b.irq());
    b.now = deadline;
    b.uart.advance(b.now, &mut b.wires);
    assert!(b.irq());
    assert_eq!(b.read(2), 0xcc);
    assert_eq!(b.read(0), b'a');
    assert!(!b.irq(), "reading a character clears it and starts the time again");
    assert_eq!(b.uart.deadline(), deadline.after_ns(4 * 86_805));
    assert_eq!(b.read(0), b'b');
    assert_eq!(b.uart.deadline(), VirtualTime::NEVER);
}

#[test]
fn an_overrun_keeps_the_fifo_and_interrupts_first() {
    let mut b = Bench::new();
    b.write(2, 0x01);
    b.write(1, 0x0f);
    (0..16).for_each(|byte| assert!(b.receive(byte)));
    assert!(!b.uart.can_receive());
    assert!(!b.receive(99));
    assert_eq!(b.read(2), 0xc6);
    assert_eq!(b.read(5), 0x63);
    assert_eq!(b.read(2), 0xc4, "reading LSR cleared the overrun");
    assert_eq!(b.read(0), 0);
}

#[test]
fn without_fifos_a_new_byte_replaces_the_old() {
    let mut b = Bench::new();
    assert!(b.receive(1));
    assert!(!b.receive(2));
    assert_eq!(b.read(5), 0x63);
    assert_eq!(b.read(0), 2);
    assert_eq!(b.read(5), 0x60);
    assert_eq!(b.uart.deadline(), VirtualTime::NEVER, "a 16450 has no character timeout");
}

#[test]
fn modem_status_changes_interrupt_until_read() {
    let mut b = Bench::new();
    assert_eq!(b.read(6), 0xb0);
    b.write(1, 0x08);
    b.write(4, 0x14); // loopback with OUT1: ring on, all others off
    assert!(b.irq());
    assert_eq!(b.read(2), 0x00);
    assert_eq!(b.read(6), 0x4b, "the ring's leading edge is not noted");
    assert!(!b.irq());
    b.write(4, 0x10);
    assert_eq!(b.read(6), 0x04, "its trailing edge is");
}

#[test]
fn dlab_scratch_and_wide_accesses() {
    let mut b = Bench::new();
    b.write(7, 0x5a);
    b.write(3, 0x83);
    b.uart.port_write(0, Width::Word, 0x1234, b.now, &mut b.wires);
    assert_eq!(b.uart.port_read(0, Width::Dword, b.now, &mut b.wires), 0x8301_1234);
    b.write(3, 0x03);
    assert_eq!(b.read(1), 0, "IER was not touched");
    assert_eq!(b.uart.port_read(7, Width::Word, b.now, &mut b.wires), 0xff5a);
}

#[test]
fn out2_can_gate_the_interrupt() {
    let mut b = Bench::new();
    b.uart = Uart::new(UartConfig { out2_gates_irq: true, ..UartConfig::default() });
    b.write(1, 0x02);
    assert!(!b.irq());
    b.write(4, 0x08);
    assert!(b.irq());
    b.write(4, 0x18);
    assert!(!b.irq(), "loopback switches OUT2 off");
}

#[test]
fn saved_state_is_checked() {
    let mut b = Bench::new();
    b.write(2, 0x81);
    b.receive(7);
    let state = b.uart.save();
    let mut other = Uart::new(UartConfig::default());
    other.restore(state.clone()).unwrap();
    assert_eq!(other, b.uart);
    let before = other.clone();
    let too_full = UartState { received: vec![0; 17], ..state.clone() };
    assert!(other.restore(too_full).is_err());
    assert!(other.restore(UartState { ier: 0x10, ..state }).is_err());
    assert_eq!(other, before);
}

#[test]
fn conformance() {
    use crate::conformance::{check, port_step, time_step};
    let fresh = || Uart::new(UartConfig { out2_gates_irq: true, ..UartConfig::default() });
    check(fresh, |uart, mut step| match step.rng.below(4) {
        0 => time_step(uart, &mut step),
        1 => {
            let kept = uart.receive(step.rng.next() as u8, *step.now, step.trace);
            step.trace.note(kept);
        }
        _ => port_step(uart, &[0, 1, 2, 3, 4, 5, 6, 7], &mut step),
    });
}

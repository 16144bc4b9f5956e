//! DSDT: the devices that cannot be found by looking, in AML (ACPI 6.5, sections 5.2.11 and 6).

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Memory32Fixed, Name, Package, PackageBuilder,
    ResourceTemplate, Scope,
};
use devices::acpi_pm::{PM_BASE, PM_PORT_COUNT, SLEEP_TYPE_S5, SMI_COMMAND_PORT, SMI_PORT_COUNT};
use devices::rtc;

use super::table::Table;
use crate::memory_map::{ECAM_BASE, ECAM_SIZE, HPET_BASE, IOAPIC_BASE, LAPIC_BASE, PCI_MMIO_BASE, PCI_MMIO_END};

/// First I/O APIC input of the PCI interrupts, and how many they share.
const PCI_FIRST_GSI: u8 = 16;
const PCI_GSI_COUNT: u8 = 4;

/// The I/O APIC input of `pin` (0 is INTA) of the PCI device `slot` on bus 0: level-triggered, active low.
pub const fn pci_interrupt_gsi(slot: u8, pin: u8) -> u8 {
    PCI_FIRST_GSI + slot.wrapping_add(pin) % PCI_GSI_COUNT
}

pub(super) fn build(vcpus: u8) -> Vec<u8> {
    let mut aml = Vec::new();
    // Simple systems search for this package's bytes and read the first element without interpreting.
    let sleep: [&dyn Aml; 4] = [&SLEEP_TYPE_S5, &SLEEP_TYPE_S5, &0_u8, &0_u8];
    Name::new("\\_S5_".into(), &Package::new(sleep.to_vec())).to_aml_bytes(&mut aml);
    let processors: Vec<Vec<u8>> = (0..vcpus).map(processor).collect();
    let devices = [pci_root(), motherboard()].into_iter().chain(ISA_DEVICES.iter().map(isa_device)).chain([hpet()]);
    let all: Vec<Bytes> = processors.into_iter().chain(devices).map(Bytes).collect();
    let children = all.iter().map(|bytes| bytes as &dyn Aml).collect();
    Scope::new("\\_SB_".into(), children).to_aml_bytes(&mut aml);
    Table::new(*b"DSDT", 2).bytes(&aml).finish()
}

/// AML that is already encoded.
struct Bytes(Vec<u8>);

impl Aml for Bytes {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}

fn encoded(object: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.to_aml_bytes(&mut bytes);
    bytes
}

/// A device with a hardware ID, a number among its like and resources.
fn device(name: &str, hid: &dyn Aml, uid: u8, resources: Vec<&dyn Aml>) -> Vec<u8> {
    let hid = Name::new("_HID".into(), hid);
    let uid = Name::new("_UID".into(), &uid);
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(resources));
    encoded(&Device::new(name.into(), vec![&hid, &uid, &crs]))
}

fn processor(id: u8) -> Vec<u8> {
    let hid = Name::new("_HID".into(), &"ACPI0007");
    let uid = Name::new("_UID".into(), &id);
    encoded(&Device::new(format!("C{id:03}").as_str().into(), vec![&hid, &uid]))
}

/// The PCI Express root: bus numbers, windows and interrupt routing.
fn pci_root() -> Vec<u8> {
    let buses = AddressSpace::new_bus_number(0_u16, 255);
    let ports_below = AddressSpace::new_io(0_u16, 0xcf7, None);
    let configuration = IO::new(0xcf8, 0xcf8, 1, 8);
    let ports_above = AddressSpace::new_io(0xd00_u16, 0xffff, None);
    let memory = AddressSpace::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        PCI_MMIO_BASE as u32,
        (PCI_MMIO_END - 1) as u32,
        None,
    );
    let windows = ResourceTemplate::new(vec![&buses, &ports_below, &configuration, &ports_above, &memory]);
    let objects = [
        Name::new("_HID".into(), &EISAName::new("PNP0A08")),
        Name::new("_CID".into(), &EISAName::new("PNP0A03")),
        Name::new("_UID".into(), &0_u8),
        Name::new("_SEG".into(), &0_u8),
        Name::new("_BBN".into(), &0_u8),
        Name::new("_CRS".into(), &windows),
        Name::new("_PRT".into(), &interrupt_routing()),
    ];
    encoded(&Device::new("PCI0".into(), objects.iter().map(|object| object as &dyn Aml).collect()))
}

/// All four pins of all slots of bus 0, wired to I/O APIC inputs.
fn interrupt_routing() -> PackageBuilder {
    let mut routes = PackageBuilder::new();
    for slot in 0..32_u8 {
        for pin in 0..4_u8 {
            let address = u32::from(slot) << 16 | 0xffff;
            routes.add_element(&Package::new(vec![&address, &pin, &0_u8, &pci_interrupt_gsi(slot, pin)]));
        }
    }
    routes
}

/// What belongs to the board itself and is nobody else's to use.
fn motherboard() -> Vec<u8> {
    let power = IO::new(PM_BASE, PM_BASE, 1, PM_PORT_COUNT as u8);
    let commands = IO::new(SMI_COMMAND_PORT, SMI_COMMAND_PORT, 1, SMI_PORT_COUNT as u8);
    let ecam = Memory32Fixed::new(true, ECAM_BASE as u32, ECAM_SIZE as u32);
    let ioapic = Memory32Fixed::new(true, IOAPIC_BASE as u32, 0x1000);
    let lapic = Memory32Fixed::new(true, LAPIC_BASE as u32, 0x1000);
    device("MBRD", &EISAName::new("PNP0C02"), 0, vec![&power, &commands, &ecam, &ioapic, &lapic])
}

/// An ISA interrupt: edge-triggered, active high, not shared (ACPI 6.5, section 6.4.2.1, without flags).
///
/// Unlike the extended descriptor this one names the ISA interrupt, to which the MADT's overrides apply.
struct IsaInterrupt(u8);

impl Aml for IsaInterrupt {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.byte(0x22);
        sink.word(1 << self.0);
    }
}

/// A device on the ISA bus: name, Plug-and-Play ID, ports (first, count) and interrupt.
struct IsaDevice {
    name: &'static str,
    hid: &'static str,
    ports: &'static [(u16, u8)],
    irq: u8,
}

const ISA_DEVICES: [IsaDevice; 5] = [
    IsaDevice { name: "COM1", hid: "PNP0501", ports: &[(0x3f8, 8)], irq: 4 },
    IsaDevice { name: "RTC_", hid: "PNP0B00", ports: &[(rtc::PORT_BASE, rtc::PORT_COUNT as u8)], irq: rtc::IRQ.0 },
    IsaDevice { name: "KBD_", hid: "PNP0303", ports: &[(0x60, 1), (0x64, 1)], irq: 1 },
    IsaDevice { name: "MOU_", hid: "PNP0F13", ports: &[], irq: 12 },
    IsaDevice { name: "PIT_", hid: "PNP0100", ports: &[(0x40, 4)], irq: 0 },
];

fn isa_device(isa: &IsaDevice) -> Vec<u8> {
    let ports: Vec<IO> = isa.ports.iter().map(|&(first, count)| IO::new(first, first, 1, count)).collect();
    let interrupt = IsaInterrupt(isa.irq);
    let mut resources: Vec<&dyn Aml> = ports.iter().map(|ports| ports as &dyn Aml).collect();
    resources.push(&interrupt);
    device(isa.name, &EISAName::new(isa.hid), 0, resources)
}

fn hpet() -> Vec<u8> {
    let registers = Memory32Fixed::new(true, HPET_BASE as u32, 0x400);
    device("HPET", &EISAName::new("PNP0103"), 0, vec![&registers])
}

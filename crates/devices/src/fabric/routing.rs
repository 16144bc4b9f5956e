//! Who receives a message.

use super::{ApicMessage, DeliveryMode};
use crate::lapic::{Ipi, LocalApic, Recipients};

/// Delivers a message to those that its destination says; says whether anyone accepted it.
pub fn route(lapics: &mut [LocalApic], message: ApicMessage) -> bool {
    let addressed = members(lapics, |_, lapic| lapic.chip.is_addressed(message.destination));
    deliver(lapics, addressed, message)
}

/// Delivers an interrupt that processor `sender` sends.
pub fn send(lapics: &mut [LocalApic], sender: usize, ipi: Ipi) {
    let Ipi { message, recipients } = ipi;
    let receivers = members(lapics, |vcpu, lapic| match recipients {
        Recipients::Addressed => lapic.chip.is_addressed(message.destination),
        Recipients::Oneself => vcpu == sender,
        Recipients::Everyone => lapic.chip.is_enabled(),
        Recipients::Others => lapic.chip.is_enabled() && vcpu != sender,
    });
    // An interrupt that nobody takes is lost, and the sender does not learn of it.
    let _accepted = deliver(lapics, receivers, message);
}

/// The processors that fulfil a condition, one bit each.
fn members(lapics: &[LocalApic], is_member: impl Fn(usize, &LocalApic) -> bool) -> u8 {
    lapics.iter().enumerate().fold(0, |set, (vcpu, lapic)| set | u8::from(is_member(vcpu, lapic)) << vcpu)
}

fn deliver(lapics: &mut [LocalApic], mut receivers: u8, message: ApicMessage) -> bool {
    if message.mode == DeliveryMode::LowestPriority {
        receivers = arbitrate(lapics, receivers);
    }
    let mut accepted = false;
    for (vcpu, lapic) in lapics.iter_mut().enumerate() {
        if receivers & 1 << vcpu != 0 {
            accepted |= lapic.chip.receive(message);
        }
    }
    accepted
}

/// Among the receivers that accept interrupts, the one whose processor does the least important
/// work; of equals, the first. How hardware decides is left to the implementation (SDM 11.6.2.4).
fn arbitrate(lapics: &[LocalApic], receivers: u8) -> u8 {
    let candidates = lapics.iter().enumerate().filter(|(vcpu, _)| receivers & 1 << vcpu != 0);
    let listening = candidates.filter(|(_, lapic)| lapic.chip.is_listening());
    let chosen = listening.min_by_key(|(_, lapic)| lapic.chip.processor_priority() >> 4);
    chosen.map_or(0, |(vcpu, _)| 1 << vcpu)
}

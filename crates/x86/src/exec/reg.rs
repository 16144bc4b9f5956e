//! General registers as operands of 8 to 64 bits.

use crate::memory::access::Value;
use crate::vcpu::Vcpu;

/// An operand type: how it lies in a register. 8-bit registers are named by their byte offset
/// in `Vcpu::gpr`, the others by their number.
pub trait Reg: Value {
    /// The register's value.
    fn get(cpu: &Vcpu, r: u8) -> Self;
    /// Sets the register; a 32-bit write clears the upper half, smaller ones leave the rest.
    fn set(cpu: &mut Vcpu, r: u8, value: Self);
    /// The sign bit.
    fn msb(self) -> bool {
        self.to_u64() >> (Self::BITS - 1) != 0
    }
}

impl Reg for u8 {
    #[inline(always)]
    fn get(cpu: &Vcpu, r: u8) -> u8 {
        bytemuck::cast_ref::<[u64; 32], [u8; 256]>(&cpu.gpr)[usize::from(r)]
    }
    #[inline(always)]
    fn set(cpu: &mut Vcpu, r: u8, value: u8) {
        bytemuck::cast_mut::<[u64; 32], [u8; 256]>(&mut cpu.gpr)[usize::from(r)] = value;
    }
}

impl Reg for u16 {
    #[inline(always)]
    fn get(cpu: &Vcpu, r: u8) -> u16 {
        cpu.gpr[usize::from(r & 31)] as u16
    }
    #[inline(always)]
    fn set(cpu: &mut Vcpu, r: u8, value: u16) {
        let reg = &mut cpu.gpr[usize::from(r & 31)];
        *reg = (*reg & !0xffff) | u64::from(value);
    }
}

impl Reg for u32 {
    #[inline(always)]
    fn get(cpu: &Vcpu, r: u8) -> u32 {
        cpu.gpr[usize::from(r & 31)] as u32
    }
    #[inline(always)]
    fn set(cpu: &mut Vcpu, r: u8, value: u32) {
        cpu.gpr[usize::from(r & 31)] = u64::from(value);
    }
}

impl Reg for u64 {
    #[inline(always)]
    fn get(cpu: &Vcpu, r: u8) -> u64 {
        cpu.gpr[usize::from(r & 31)]
    }
    #[inline(always)]
    fn set(cpu: &mut Vcpu, r: u8, value: u64) {
        cpu.gpr[usize::from(r & 31)] = value;
    }
}

//! Memory operands of 1 to 32 bytes.

use crate::fault::Trap;
use crate::memory::phys::PAGE_SIZE;
use crate::memory::tlb::view;
use crate::op::{Env, Op};
use crate::vcpu::Vcpu;

/// The linear address of `op`'s memory operand; `align` holds the address bits that must be zero.
///
/// # Errors
/// #GP(0) if one of them is not, and what [`Vcpu::operand_address`] raises.
#[inline(always)]
pub(super) fn address(cpu: &mut Vcpu, op: &Op, bytes: usize, align: u64, write: bool) -> Result<u64, Trap> {
    let linear = cpu.operand_address(op, bytes, write)?;
    if linear & align != 0 {
        // Comes before #SS(0) for an address that is not canonical.
        return Err(cpu.gp0());
    }
    Ok(linear)
}

/// Loads `N` quadwords.
///
/// # Errors
/// As [`Vcpu::load`].
#[inline(always)]
pub(super) fn load_words<const N: usize>(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
    linear: u64,
) -> Result<[u64; N], Trap> {
    if linear % PAGE_SIZE > PAGE_SIZE - 8 * N as u64 || cpu.mode.view == view::USER_ALIGN {
        return load_split(cpu, env, op, linear);
    }
    let mut words = [0; N];
    for (i, word) in words.iter_mut().enumerate() {
        *word = cpu.load(env, op, linear + 8 * i as u64)?;
    }
    Ok(words)
}

#[cold]
#[inline(never)]
fn load_split<const N: usize>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, linear: u64) -> Result<[u64; N], Trap> {
    let mut words = [0u64; N];
    without_alignment(cpu, |cpu| cpu.load_bytes(env, op, linear, bytemuck::cast_slice_mut(&mut words)))?;
    Ok(words)
}

/// Accesses that cause no #AC: operands of 16 and 32 bytes that need not be aligned (SDM Vol. 2,
/// MOVUPS: whether they do is up to the processor), the elements of masked moves (exceptions
/// of type 6) and of gathers.
pub(super) fn without_alignment<R>(cpu: &mut Vcpu, access: impl FnOnce(&mut Vcpu) -> R) -> R {
    let view = cpu.mode.view;
    if view == view::USER_ALIGN {
        cpu.mode.view = view::USER;
    }
    let result = access(cpu);
    cpu.mode.view = view;
    result
}

/// Stores `N` quadwords; nothing is written if any part of them faults.
///
/// # Errors
/// As [`Vcpu::store`].
#[inline(always)]
pub(super) fn store_words<const N: usize>(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
    linear: u64,
    words: [u64; N],
) -> Result<(), Trap> {
    if linear % PAGE_SIZE > PAGE_SIZE - 8 * N as u64 || cpu.mode.view == view::USER_ALIGN {
        return store_split(cpu, env, op, linear, words);
    }
    // The first store checks the one page that all of them are in.
    for (i, word) in words.into_iter().enumerate() {
        cpu.store(env, op, linear + 8 * i as u64, word)?;
    }
    Ok(())
}

#[cold]
#[inline(never)]
fn store_split<const N: usize>(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
    linear: u64,
    words: [u64; N],
) -> Result<(), Trap> {
    without_alignment(cpu, |cpu| cpu.store_bytes(env, op, linear, bytemuck::cast_slice(&words)))
}

/// Loads 1, 2, 4, 8, 16 or 32 bytes into the first quadwords of `out`.
///
/// # Errors
/// As [`Vcpu::load`].
#[inline(always)]
pub(super) fn load(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
    linear: u64,
    bytes: u8,
    out: &mut [u64; 4],
) -> Result<(), Trap> {
    match bytes {
        16 => [out[0], out[1]] = load_words(cpu, env, op, linear)?,
        32 => *out = load_words(cpu, env, op, linear)?,
        8 => out[0] = cpu.load(env, op, linear)?,
        4 => out[0] = u64::from(cpu.load::<u32>(env, op, linear)?),
        2 => out[0] = u64::from(cpu.load::<u16>(env, op, linear)?),
        _ => out[0] = u64::from(cpu.load::<u8>(env, op, linear)?),
    }
    Ok(())
}

/// Stores the first 1, 2, 4, 8, 16 or 32 bytes of `value`.
///
/// # Errors
/// As [`Vcpu::store`]; nothing is written then.
#[inline(always)]
pub(super) fn store(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
    linear: u64,
    bytes: u8,
    value: [u64; 4],
) -> Result<(), Trap> {
    match bytes {
        16 => store_words(cpu, env, op, linear, [value[0], value[1]]),
        32 => store_words(cpu, env, op, linear, value),
        8 => cpu.store(env, op, linear, value[0]),
        4 => cpu.store(env, op, linear, value[0] as u32),
        2 => cpu.store(env, op, linear, value[0] as u16),
        _ => cpu.store(env, op, linear, value[0] as u8),
    }
}

//! The linear addresses that a case sees, the same on both CPUs.
//!
//! Code lies in two pages that can be read and executed. Data lies in two writable pages and a
//! read-only one, not executable, that appear twice: below 2 GiB, where every addressing form
//! reaches them, and far above 4 GiB, where an address that lost its upper half goes wrong.
//! All pages around are unmapped.

/// Bytes in a page.
pub const PAGE: u64 = 4096;
/// First code page.
pub const CODE: u64 = 0x2345_0000;
/// Pages of code.
pub const CODE_PAGES: u64 = 2;
/// First data page, low.
pub const DATA: u64 = 0x2346_0000;
/// First data page, high.
pub const DATA_HIGH: u64 = 0x12_5678_a000;
/// Writable data pages.
pub const WRITABLE_PAGES: u64 = 2;
/// All data pages: one read-only page behind the writable ones.
pub const DATA_PAGES: u64 = WRITABLE_PAGES + 1;
/// What code pages are filled with: INT3.
pub const FILL: u8 = 0xcc;
/// Bytes of writable data.
pub const WRITABLE_BYTES: usize = (WRITABLE_PAGES * PAGE) as usize;
/// Selectors of user code and data, those that Linux gives its programs.
pub const CS_64: u16 = 0x33;
/// 32-bit user code.
pub const CS_32: u16 = 0x23;
/// User data.
pub const DATA_SELECTOR: u16 = 0x2b;

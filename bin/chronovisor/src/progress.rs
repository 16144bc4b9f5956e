//! Progress bars with rate and time left, on standard error, if a person looks there.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const REFRESH: Duration = Duration::from_millis(250);

/// A bar that counts to `len` in `unit`; it draws nothing unless standard error is a terminal.
pub fn bar(len: u64, unit: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template =
        format!("{{wide_bar}} {{percent}} %  {{human_pos}} of {{human_len}} {unit}  {{per_sec}}  {{eta}} left");
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr_with_hz(4));
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(REFRESH);
    bar
}

/// A bar beside a guest's output: if that goes to a terminal, it is progress enough.
pub fn bar_beside_output(len: u64, unit: &str) -> ProgressBar {
    if std::io::stdout().is_terminal() { ProgressBar::hidden() } else { bar(len, unit) }
}

//! A PS/2 mouse with three buttons, and with a wheel once the system has knocked for it
//! (IBM PS/2 hardware technical reference, mouse; Microsoft IntelliMouse extension).

use std::collections::VecDeque;

pub(super) const QUEUE_LEN: usize = 64;
pub(super) const REPLIES_LEN: usize = 16;
/// Motion that cannot be reported yet is kept up to this much.
pub(super) const MOTION_LIMIT: i32 = 2048;

const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const DEFAULT_RATE: u8 = 100;
const DEFAULT_RESOLUTION: u8 = 2;
/// Sample rates set one after another that turn the wheel on.
const WHEEL_KNOCK: [u8; 3] = [200, 100, 80];

/// The mouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mouse {
    /// Answers to commands, which go before packets.
    pub replies: VecDeque<u8>,
    pub packets: VecDeque<u8>,
    /// The command whose argument comes next; 0 if none.
    pub expecting: u8,
    /// 0, or 3 with a wheel.
    pub id: u8,
    pub reporting: bool,
    pub remote: bool,
    pub wrap: bool,
    pub scaling_2_1: bool,
    pub resolution: u8,
    pub rate: u8,
    /// The last three sample rates.
    pub knock: [u8; 3],
    /// Motion not yet reported: right, up, wheel towards the user.
    pub motion: [i32; 3],
    /// Bit 0 left, 1 right, 2 middle.
    pub buttons: u8,
    /// What the last packet said about the buttons.
    pub buttons_sent: u8,
    pub last_sent: u8,
}

impl Default for Mouse {
    fn default() -> Self {
        Mouse {
            replies: VecDeque::new(),
            packets: VecDeque::new(),
            expecting: 0,
            id: 0,
            reporting: false,
            remote: false,
            wrap: false,
            scaling_2_1: false,
            resolution: DEFAULT_RESOLUTION,
            rate: DEFAULT_RATE,
            knock: [0; 3],
            motion: [0; 3],
            buttons: 0,
            buttons_sent: 0,
            last_sent: 0,
        }
    }
}

impl Mouse {
    /// A byte from the system: a command or its argument.
    pub fn write(&mut self, byte: u8) {
        // Whatever was being sent is broken off.
        self.packets.clear();
        if self.wrap && byte != 0xff && byte != 0xec {
            return self.reply(&[byte]);
        }
        match std::mem::take(&mut self.expecting) {
            0 => self.command(byte),
            command => self.argument(command, byte),
        }
    }

    /// The mouse moves and its buttons (bit 0 left, 1 right, 2 middle) are as given.
    pub fn moved(&mut self, right: i32, up: i32, wheel: i32, buttons: u8) {
        for (sum, delta) in self.motion.iter_mut().zip([right, up, wheel]) {
            *sum = sum.saturating_add(delta).clamp(-MOTION_LIMIT, MOTION_LIMIT);
        }
        if self.id == 0 {
            self.motion[2] = 0;
        }
        self.buttons = buttons & 7;
        self.report();
    }

    /// The next byte for the controller.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.replies.pop_front().or_else(|| self.packets.pop_front())?;
        self.last_sent = byte;
        self.report();
        Some(byte)
    }

    /// Queues packets for what has not been reported, as long as they fit.
    fn report(&mut self) {
        while self.reporting
            && !self.remote
            && (self.motion != [0; 3] || self.buttons != self.buttons_sent)
            && self.packets.len() + 4 <= QUEUE_LEN
        {
            let (packet, len) = self.packet();
            self.packets.extend(&packet[..len]);
        }
    }

    /// One packet, with as much of the motion as it can hold.
    fn packet(&mut self) -> ([u8; 4], usize) {
        let [x, y, z] = &mut self.motion;
        let [dx, dy] = [x, y].map(|sum| {
            let part = (*sum).clamp(-255, 255);
            *sum -= part;
            part
        });
        let dz = (*z).clamp(-8, 7);
        *z -= dz;
        self.buttons_sent = self.buttons;
        let signs = u8::from(dx < 0) << 4 | u8::from(dy < 0) << 5;
        let packet = [self.buttons | 0x08 | signs, dx as u8, dy as u8, dz as u8];
        (packet, if self.id == 3 { 4 } else { 3 })
    }

    fn reply(&mut self, bytes: &[u8]) {
        if self.replies.len() + bytes.len() <= REPLIES_LEN {
            self.replies.extend(bytes);
        }
    }

    fn set_defaults(&mut self) {
        self.reporting = false;
        self.remote = false;
        self.wrap = false;
        self.scaling_2_1 = false;
        self.resolution = DEFAULT_RESOLUTION;
        self.rate = DEFAULT_RATE;
        self.motion = [0; 3];
    }

    fn command(&mut self, command: u8) {
        match command {
            0xe6 => self.scaling_2_1 = false,
            0xe7 => self.scaling_2_1 = true,
            0xe8 | 0xf3 => self.expecting = command,
            0xe9 => {
                let mode = u8::from(self.remote) << 6 | u8::from(self.reporting) << 5 | u8::from(self.scaling_2_1) << 4;
                // Here the left button is the highest of the three.
                let buttons = (self.buttons & 1) << 2 | (self.buttons & 4) >> 1 | (self.buttons & 2) >> 1;
                return self.reply(&[ACK, mode | buttons, self.resolution, self.rate]);
            }
            0xea => self.remote = false,
            0xeb => {
                let (packet, len) = self.packet();
                self.reply(&[ACK]);
                return self.reply(&packet[..len]);
            }
            0xec => self.wrap = false,
            0xee => self.wrap = true,
            0xf0 => self.remote = true,
            0xf2 => return self.reply(&[ACK, self.id]),
            0xf4 => {
                self.reporting = true;
                self.motion = [0; 3];
                self.buttons_sent = self.buttons;
            }
            0xf5 => self.reporting = false,
            0xf6 => self.set_defaults(),
            0xfe => return self.reply(&[self.last_sent]),
            0xff => {
                self.set_defaults();
                self.id = 0;
                self.knock = [0; 3];
                self.replies.clear();
                return self.reply(&[ACK, 0xaa, 0x00]);
            }
            _ => return self.reply(&[RESEND]),
        }
        self.reply(&[ACK]);
    }

    fn argument(&mut self, command: u8, argument: u8) {
        if command == 0xe8 {
            self.resolution = argument & 3;
        } else {
            self.rate = argument;
            self.knock = [self.knock[1], self.knock[2], argument];
            if self.knock == WHEEL_KNOCK {
                self.id = 3;
            }
        }
        self.reply(&[ACK]);
    }
}

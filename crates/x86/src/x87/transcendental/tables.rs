//! Constants of the transcendental instructions, to 128 bits, cut off.
//!
//! Each follows from its definition; a test recomputes them from one another.

use super::wide::Wide;

const fn w(negative: bool, exponent: i32, significand: u128) -> Wide {
    Wide { negative, exponent, significand }
}

/// π.
pub const PI: Wide = w(false, 1, 0xc90fdaa2_2168c234_c4c6628b_80dc1cd1);

/// π/2.
pub const HALF_PI: Wide = w(false, 0, 0xc90fdaa2_2168c234_c4c6628b_80dc1cd1);

/// π/4.
pub const QUARTER_PI: Wide = w(false, -1, 0xc90fdaa2_2168c234_c4c6628b_80dc1cd1);

/// 3π/4.
pub const THREE_QUARTERS_PI: Wide = w(false, 1, 0x96cbe3f9_990e91a7_9394c9e8_a0a5159c);

/// ln 2.
pub const LN_2: Wide = w(false, -1, 0xb17217f7_d1cf79ab_c9e3b398_03f2f6af);

/// 2 / ln 2.
pub const TWO_LOG2_E: Wide = w(false, 1, 0xb8aa3b29_5c17f0bb_be87fed0_691d3e88);

/// arctan(k/16) for k from 1 to 16.
pub const ARC_TANGENT: [Wide; 16] = [
    w(false, -5, 0xffaaddb9_67ef4e36_cb2792dc_0e2e0d51),
    w(false, -4, 0xfeadd4d5_617b6e32_c897989f_3e888ef7),
    w(false, -3, 0xbdcbda5e_72d81134_7b0b4f88_1c9c7487),
    w(false, -3, 0xfadbafc9_6406eb15_6dc79ef5_f7a217e5),
    w(false, -2, 0x9b13b9b8_3f5e5e69_c5abb498_d27af328),
    w(false, -2, 0xb7b0ca0f_26f78473_8aa32122_dcfe4483),
    w(false, -2, 0xd327761e_611fe5b6_427c95e9_001e7136),
    w(false, -2, 0xed63382b_0dda7b45_6fe445ec_bc3a8d03),
    w(false, -1, 0x832bf4a6_d9867e2a_4b6a09cb_61a515c0),
    w(false, -1, 0x8f005d5e_f7f59f9b_5c835e16_65c43747),
    w(false, -1, 0x9a2f80e6_71bdda20_4226f8e2_204ff3bc),
    w(false, -1, 0xa4bc7d19_34f70924_19a87f2a_457dac9e),
    w(false, -1, 0xaeac4c38_b4d8c080_14725e2f_3e52070a),
    w(false, -1, 0xb8053e2b_c2319e73_cb2da552_10a4443d),
    w(false, -1, 0xc0ce85b8_ac526640_89dd62c4_6e92fa24),
    w(false, -1, 0xc90fdaa2_2168c234_c4c6628b_80dc1cd1),
];

/// The smallest k of [`LOG2`].
pub const LOG2_FIRST: u32 = 22;

/// log2(k/32) for k from 22 to 46; the entry of k = 32, which is zero, is never used.
pub const LOG2: [Wide; 25] = [
    w(true, -1, 0x8a62b07f_3457c407_050799be_aaab2940),
    w(true, -2, 0xf3efaff2_9c559a77_da8ad649_da21eaaf),
    w(true, -2, 0xd47fcb8c_0852f0c0_bfe9dbeb_f2e8a45d),
    w(true, -2, 0xb6587b43_2e47501b_6d40900b_25024b32),
    w(true, -2, 0x995ff71b_8773432d_124bc6f1_acf95dc3),
    w(true, -3, 0xfafec548_31f1a484_7f7b2787_b173da32),
    w(true, -3, 0xc544c055_fde99333_54dbf16f_b0695ee3),
    w(true, -3, 0x916d6e15_59a4b696_91d79938_e7226383),
    w(true, -4, 0xbeb024b6_7dda6339_da288fc6_15a727db),
    w(true, -5, 0xbb9ca64e_cac6aaef_2e1c07f0_438ebabf),
    w(false, 0, 0),
    w(false, -5, 0xb5d69bac_77ec3989_b03784b5_be084906),
    w(false, -4, 0xb31fb7d6_4898b3e6_629c130a_22bad61e),
    w(false, -3, 0x8462c466_d3cf1cb1_3de37e85_2a9455ea),
    w(false, -3, 0xae00d1cf_deb43cfd_00589050_345d6e89),
    w(false, -3, 0xd67af16d_a7649f7f_08f65e00_c1b1a5a9),
    w(false, -3, 0xfde0b5c8_1340511d_46ccc53c_2779af92),
    w(false, -2, 0x92203d58_7039cc12_2dca5d22_601dfdde),
    w(false, -2, 0xa4d3c25e_68dc57f2_495fb7fa_6d7eda66),
    w(false, -2, 0xb7110e6c_e866f2bc_6a905a27_b81e2219),
    w(false, -2, 0xc8ddd448_f8b845a5_95a82b5c_34e2ac30),
    w(false, -2, 0xda3f5fb9_c4150520_a377c7ec_513c756e),
    w(false, -2, 0xeb3a9f01_975077f1_f5f0cc82_aaa9ad7e),
    w(false, -2, 0xfbd42b46_58367670_c98c0022_87ad91ab),
    w(false, -1, 0x86082806_b1d532c4_12ba94db_12ef0aa8),
];

/// 2^(k/16) - 1 for k from -16 to 16; the entry of k = 0, which is zero, is never used.
pub const POWER: [Wide; 33] = [
    w(true, -1, 0x80000000_00000000_00000000_00000000),
    w(true, -2, 0xf4aa7930_676f09d6_746d48e7_bd567c9b),
    w(true, -2, 0xe8d47c38_2ae85232_08373af1_4eb586df),
    w(true, -2, 0xdc785918_a9dc7993_e0524e3e_a34a6c4f),
    w(true, -2, 0xcf901f5c_e48ead21_72a5b9cf_a37a1213),
    w(true, -2, 0xc2159b3e_dcbddca4_beddc1ec_288c045d),
    w(true, -2, 0xb40252ac_9d5d8e2b_c685013b_d1df1fc9),
    w(true, -2, 0xa54f822b_7abd6a73_6cfeae6e_14cba277),
    w(true, -2, 0x95f61998_0c4336f7_4d04ec99_156a82c1),
    w(true, -2, 0x85eeb8c1_4fe79282_aefdc093_25e0a10b),
    w(true, -3, 0xea6357ba_abe4948b_0754bcda_6c898322),
    w(true, -3, 0xc76dcfab_81edfc70_7729f1c1_a834e44a),
    w(true, -3, 0xa2ec0cd4_a58a542f_1965d119_bf4b0087),
    w(true, -4, 0xf999089e_ab58f777_cd3b57db_916661ae),
    w(true, -4, 0xa9f9c8c1_16de3689_7e945264_7c8d5829),
    w(true, -5, 0xada82ead_b7933d38_462f3851_267f03c9),
    w(false, 0, 0),
    w(false, -5, 0xb5586cf9_890f6298_b92b7184_2a983642),
    w(false, -4, 0xb95c1e3e_a8bd6e6f_be462875_8a53c901),
    w(false, -3, 0x8e1e9b9d_588e19b0_7eb6c705_72d64ec0),
    w(false, -3, 0xc1bf828c_6dc54b7a_356918c1_7217b7b2),
    w(false, -3, 0xf7a99304_8d088d6d_0488f84f_5dcfee8b),
    w(false, -2, 0x97fb5aa6_c544e3a8_72f5fd88_5c41c06c),
    w(false, -2, 0xb560fba9_0a852b19_2602a323_d668bb11),
    w(false, -2, 0xd413cccf_e7799211_65f626cd_d52afa7c),
    w(false, -2, 0xf4228e7d_6030dafa_a2047ed9_b43ebde8),
    w(false, -1, 0x8ace5422_aa0db5ba_7c55a192_c9bb3e6e),
    w(false, -1, 0x9c49182a_3f0901c7_c46b071f_2be58dda),
    w(false, -1, 0xae89f995_ad3ad5e8_734d1773_205a7fbc),
    w(false, -1, 0xc199bdd8_5529c222_0cb12a09_1ba66794),
    w(false, -1, 0xd5818dcf_ba48725d_a05aeb66_e0dca9f5),
    w(false, -1, 0xea4afa2a_490d9858_f73a18f5_db301f86),
    w(false, 0, 0x80000000_00000000_00000000_00000000),
];

#[cfg(test)]
mod tests {
    use super::super::functions::{log2_quotient, small_arc_tangent};
    use super::*;

    const ONE: Wide = Wide { negative: false, exponent: 0, significand: 1 << 127 };

    /// Sums and products of cut-off values, and the short series, are right to 2^-100.
    fn same(a: Wide, b: Wide) -> bool {
        let difference = a.sub(b);
        difference.is_zero() || difference.exponent < a.exponent - 100
    }

    #[test]
    fn each_arc_tangent_follows_from_the_one_before() {
        for k in 1..16i32 {
            // The tangent of the difference is (1/16) / (1 + k(k+1)/256).
            let step = Wide::ratio(16, 0).div(Wide::ratio(256 + k * (k + 1), 0));
            let next = ARC_TANGENT[k as usize - 1].add(small_arc_tangent(step));
            assert!(same(next, ARC_TANGENT[k as usize]), "{k}");
        }
        assert_eq!(ARC_TANGENT[15], QUARTER_PI);
        assert!(same(QUARTER_PI.add(HALF_PI), THREE_QUARTERS_PI));
        assert!(same(HALF_PI.add(HALF_PI), PI));
        // Machin's formula.
        let machin = Wide::ratio(16, 0)
            .mul(small_arc_tangent(ONE.div(Wide::ratio(5, 0))))
            .sub(Wide::ratio(4, 0).mul(small_arc_tangent(ONE.div(Wide::ratio(239, 0)))));
        let difference = machin.sub(PI);
        assert!(difference.is_zero() || difference.exponent < -60, "the series ends early for 1/5");
    }

    #[test]
    fn each_logarithm_follows_from_the_one_before() {
        let step = |k: i32| log2_quotient(ONE, Wide::ratio(2 * k + 1, 0));
        let log = |k: u32| if k == 32 { Wide::ZERO } else { LOG2[(k - LOG2_FIRST) as usize] };
        for k in LOG2_FIRST..LOG2_FIRST + 24 {
            let difference = log(k).add(step(k as i32)).sub(log(k + 1));
            assert!(difference.is_zero() || difference.exponent < -100, "{k}");
        }
        let octave = (32..64).map(step).fold(Wide::ZERO, Wide::add);
        assert!(same(octave, ONE));
        assert!(same(LN_2.mul(TWO_LOG2_E), Wide::ratio(2, 0)));
    }

    #[test]
    fn powers_multiply() {
        let power = |k: i32| if k == 0 { ONE } else { POWER[(k + 16) as usize].add(ONE) };
        for k in -15..=15 {
            assert!(same(power(k - 1).mul(power(1)), power(k)), "{k}");
        }
        assert_eq!(power(16), Wide::ratio(2, 0));
    }
}

# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Dims at which tests run the graphs of families/: large enough for more than one tile, small enough for a simulated GPU."""
TEXT = {"batch": 2, "seq": 40}
IMAGE = {"batch": 1, "height": 64, "width": 96}
FAMILIES = {
    "llama_fp16": TEXT, "llama_op23": TEXT, "decoder_op24": TEXT, "t5_encoder": TEXT, "mixtral": {"batch": 1, "seq": 24},
    "whisper_encoder": {"batch": 1}, "encoder_ts16": TEXT, "resnet": IMAGE, "mobilenetv3_ts17": IMAGE, "efficientnet_ts17": IMAGE,
    "convnext": IMAGE, "swin": {"batch": 1}, "unet_ts13": {"batch": 1, "height": 32, "width": 48}, "sd_unet": {"batch": 2, "height": 16, "width": 24},
    "sd_vae_decoder": {"batch": 1, "height": 12, "width": 16}, "dit": {"batch": 2}, "pixart": {"batch": 1, "seq": 20},
    "lstm_tagger": {"batch": 2, "seq": 17}, "cond_branch": {"batch": 9}, "state_space": {"batch": 2, "seq": 33},
}
HALF = {"llama_fp16"}  # float16; all others are float32


def tolerance(name):
    """Relative L2, against another order of sums."""
    return 4 * 2.0**-11 if name in HALF else 1e-5

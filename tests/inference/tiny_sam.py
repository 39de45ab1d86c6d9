"""Segment Anything networks of random weights, saved as transformers saves the real ones."""

from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

SIDE_PX = 64


def save_sam(folder):
    decoder = {"hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE_PX,
            "patch_size": 8,
            "window_size": 4,
            "global_attn_indexes": [1],
            "num_pos_feats": 8,
            "mlp_dim": 32,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": SIDE_PX, "patch_size": 8},
        mask_decoder_config=decoder | {"iou_head_hidden_dim": 16},
    )
    SamModel(config).save_pretrained(folder)
    return folder


def save_sam2(folder):
    decoder = {"hidden_size": 32, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "image_size": [SIDE_PX, SIDE_PX],
                "blocks_per_stage": [1, 1, 1, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 1, 1],
                "window_size_per_stage": [8, 4, 4, 4],
                "global_attention_blocks": [],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE_PX, "patch_size": 16},
        mask_decoder_config=decoder | {"iou_head_hidden_dim": 16},
    )
    Sam2Model(config).save_pretrained(folder)
    return folder

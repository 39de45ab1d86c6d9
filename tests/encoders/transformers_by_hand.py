"""Shapes of tiny vision transformers under the names of published checkpoints."""


def linear(name, given, wanted):
    return {f"{name}.weight": (wanted, given), f"{name}.bias": (wanted,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def timm_vit(width, positions, *, hidden, patch_px=16, gated=False, scaled=True, registers=0, depth=2):
    """Return shapes under timm's names; ``hidden`` units feed the block's second linear layer."""
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, positions, width)}
    if registers:
        shapes["reg_token"] = (1, registers, width)
    shapes |= {"patch_embed.proj.weight": (width, 3, patch_px, patch_px), "patch_embed.proj.bias": (width,)}
    for index in range(depth):
        block = f"blocks.{index}"
        shapes |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        shapes |= linear(f"{block}.attn.qkv", width, 3 * width) | linear(f"{block}.attn.proj", width, width)
        shapes |= linear(f"{block}.mlp.fc1", width, hidden * (2 if gated else 1))
        shapes |= linear(f"{block}.mlp.fc2", hidden, width)
        if scaled:
            shapes |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
    return shapes | norm("norm", width)


def dinov2(width, positions, *, hidden, patch_px=14, gated=False, registers=0, depth=2):
    """Return shapes under the names of transformers' published DINOv2 files."""
    top = "embeddings"
    shapes = {f"{top}.cls_token": (1, 1, width), f"{top}.mask_token": (1, width)}
    shapes |= {f"{top}.position_embeddings": (1, positions, width)}
    if registers:
        shapes[f"{top}.register_tokens"] = (1, registers, width)
    projection = f"{top}.patch_embeddings.projection"
    shapes |= {f"{projection}.weight": (width, 3, patch_px, patch_px), f"{projection}.bias": (width,)}
    for index in range(depth):
        layer = f"encoder.layer.{index}"
        shapes |= norm(f"{layer}.norm1", width) | norm(f"{layer}.norm2", width)
        for part in ("query", "key", "value"):
            shapes |= linear(f"{layer}.attention.attention.{part}", width, width)
        shapes |= linear(f"{layer}.attention.output.dense", width, width)
        first, second = ("weights_in", "weights_out") if gated else ("fc1", "fc2")
        shapes |= linear(f"{layer}.mlp.{first}", width, hidden * (2 if gated else 1))
        shapes |= linear(f"{layer}.mlp.{second}", hidden, width)
        shapes |= {f"{layer}.layer_scale1.lambda1": (width,), f"{layer}.layer_scale2.lambda1": (width,)}
    return shapes | norm("layernorm", width)

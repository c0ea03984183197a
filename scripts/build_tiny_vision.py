"""Write the built-in models for pictures: settings alone, since what so small a model learns it learns at once.

    python scripts/build_tiny_vision.py

`image` tells what is on a picture of 64 x 64 pixels; `detection` finds boxes on one of 160 x 160.
"""

from __future__ import annotations

from pathlib import Path

TINY = Path(__file__).resolve().parent.parent / "nbtrain" / "models" / "tiny"
GREY = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "do_normalize": True}
WIDTH = 64  # of the detector's layers


def image() -> None:
    """A residual network of three stages, 0.3 million weights."""
    from transformers import ResNetConfig
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    config = ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 128], depths=[1, 1, 1], layer_type="basic", num_labels=2
    )
    config.architectures = ["ResNetForImageClassification"]
    config.save_pretrained(TINY / "image")
    # the whole picture: the processor of published models of this kind cuts off its margin
    ViTImageProcessorPil(size={"height": 64, "width": 64}, **GREY).save_pretrained(TINY / "image")


def detection() -> None:
    """RT-DETR with a backbone of four stages, 0.7 million weights."""
    from transformers import RTDetrConfig, RTDetrResNetConfig
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    backbone = RTDetrResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, 48, 64, 96],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        freeze_backbone_batch_norms=False,  # they have learnt nothing yet
        encoder_in_channels=[48, 64, 96],
        encoder_hidden_dim=WIDTH,
        encoder_ffn_dim=2 * WIDTH,
        encoder_attention_heads=4,
        d_model=WIDTH,
        decoder_in_channels=[WIDTH] * 3,
        decoder_ffn_dim=2 * WIDTH,
        decoder_layers=2,
        decoder_attention_heads=4,
        hidden_expansion=0.5,
        num_queries=40,
        num_denoising=40,
    )
    config.architectures = ["RTDetrForObjectDetection"]
    config.save_pretrained(TINY / "detection")
    RTDetrImageProcessorPil(size={"height": 160, "width": 160}, **GREY).save_pretrained(TINY / "detection")


if __name__ == "__main__":
    image()
    detection()

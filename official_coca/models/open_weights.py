"""Trained weights by name: the CoCa checkpoints that LAION released for open_clip (MIT licence)."""

# Repositories on the Hugging Face hub, as open_clip's list of pre-trained weights names them.
OPEN_WEIGHTS = {
    "coca_vit_b_32_laion2b": "laion/CoCa-ViT-B-32-laion2B-s13B-b90k",
    "coca_vit_l_14_laion2b": "laion/CoCa-ViT-L-14-laion2B-s13B-b90k",
    "coca_vit_b_32_mscoco": "laion/mscoco_finetuned_CoCa-ViT-B-32-laion2B-s13B-b90k",
    "coca_vit_l_14_mscoco": "laion/mscoco_finetuned_CoCa-ViT-L-14-laion2B-s13B-b90k",
}

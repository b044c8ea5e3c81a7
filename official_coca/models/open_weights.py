"""Trained weights that anyone may download, by name.

They are open_clip's CoCa models: trained on LAION-2B (13 billion examples seen, batches of 90
thousand), and the same fine-tuned on the captions of MS COCO, which caption better. Repositories of
the Hugging Face Hub, https://huggingface.co/laion.
"""

OPEN_WEIGHTS = {
    "coca_vit_b_32_laion2b": "laion/CoCa-ViT-B-32-laion2B-s13B-b90k",
    "coca_vit_l_14_laion2b": "laion/CoCa-ViT-L-14-laion2B-s13B-b90k",
    "coca_vit_b_32_mscoco": "laion/mscoco_finetuned_CoCa-ViT-B-32-laion2B-s13B-b90k",
    "coca_vit_l_14_mscoco": "laion/mscoco_finetuned_CoCa-ViT-L-14-laion2B-s13B-b90k",
}

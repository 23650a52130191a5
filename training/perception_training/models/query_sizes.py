"""The published sizes of RT-DETRv2 and D-FINE, in the words of transformers."""

from typing import Any

import transformers

from perception_training.config.model import DFineConfig, RtDetrV2Config
from perception_training.models.transformers_weights import configured

_BASIC = {'hidden_sizes': (64, 128, 256, 512), 'layer_type': 'basic'}
_HALF = {'encoder_in_channels': (128, 256, 512), 'hidden_expansion': 0.5}
# Size -> its ResNet, and all else that differs from the library's default, which is r50.
_RTDETRV2: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    'r18': ({**_BASIC, 'depths': (2, 2, 2, 2)}, {**_HALF, 'decoder_layers': 3}),
    'r34': ({**_BASIC, 'depths': (3, 4, 6, 3)}, {**_HALF, 'decoder_layers': 4}),
    'r50': ({}, {}),
    'r101': ({'depths': (3, 4, 23, 3)}, {
        'encoder_ffn_dim': 2048, 'encoder_hidden_dim': 384,
        'decoder_in_channels': (384, 384, 384)})}

_POINTS = {'decoder_n_points': [3, 6, 3]}
_B0 = {'stem_channels': (3, 16, 16), 'stage_in_channels': (16, 64, 256, 512),
       'stage_mid_channels': (16, 32, 64, 128), 'stage_out_channels': (64, 256, 512, 1024),
       'hidden_sizes': (128, 256, 512, 1024), 'stage_num_blocks': (1, 1, 2, 1),
       'stage_numb_of_layers': (3, 3, 3, 3), 'use_learnable_affine_block': True}
_B2 = {'stem_channels': (3, 24, 32), 'stage_in_channels': (32, 96, 384, 768),
       'stage_mid_channels': (32, 64, 128, 256), 'stage_out_channels': (96, 384, 768, 1536),
       'hidden_sizes': (192, 384, 768, 1536), 'stage_num_blocks': (1, 1, 3, 1),
       'stage_numb_of_layers': (4, 4, 4, 4), 'use_learnable_affine_block': True}
_B5 = {'stem_channels': (3, 32, 64), 'stage_in_channels': (64, 128, 512, 1024),
       'stage_mid_channels': (64, 128, 256, 512), 'stage_num_blocks': (1, 2, 5, 2)}
# Size -> its HGNetV2, and all else that differs from the library's default, which is nearly l.
_DFINE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    'n': ({**_B0, 'out_indices': [3, 4]}, {
        'num_feature_levels': 2, 'feat_strides': (16, 32), 'encode_proj_layers': (1,),
        'encoder_in_channels': (512, 1024), 'decoder_in_channels': (128, 128),
        'encoder_hidden_dim': 128, 'd_model': 128, 'encoder_ffn_dim': 512,
        'decoder_ffn_dim': 512, 'decoder_layers': 3, 'decoder_n_points': [6, 6],
        'depth_mult': 0.5, 'hidden_expansion': 0.34}),
    's': (_B0, {**_POINTS, 'encoder_in_channels': (256, 512, 1024), 'decoder_layers': 3,
                'depth_mult': 0.34, 'hidden_expansion': 0.5}),
    'm': (_B2, {**_POINTS, 'encoder_in_channels': (384, 768, 1536), 'decoder_layers': 4,
                'depth_mult': 0.67}),
    'l': ({}, _POINTS),
    'x': (_B5, {**_POINTS, 'encoder_hidden_dim': 384, 'encoder_ffn_dim': 2048,
                'decoder_in_channels': (384, 384, 384), 'reg_scale': 8.0})}


def settings_of(config: RtDetrV2Config | DFineConfig,
                classes: tuple[str, ...]) -> transformers.PreTrainedConfig:
    """
    Give the library's configuration of a size.

    Normalisation of the backbone stands still where it comes from a checkpoint, as published.

    :raises TrainingError: the library refuses a setting.
    """
    if isinstance(config, DFineConfig):
        kind, backbone = transformers.DFineConfig, transformers.HGNetV2Config
        stages, rest = _DFINE[config.size]
    else:
        kind, backbone = transformers.RTDetrV2Config, transformers.RTDetrResNetConfig
        stages, rest = _RTDETRV2[config.size]
    further = dict(config.library)
    stages = {'out_indices': [2, 3, 4], **stages, **further.pop('backbone', {})}
    return configured(kind, {
        'backbone_config': configured(backbone, stages), **rest, 'num_queries': config.queries,
        'num_labels': len(classes), 'freeze_backbone_batch_norms': config.weights is not None,
        **further})

"""Pretrained weights: from files, from other models, and from keras.applications."""

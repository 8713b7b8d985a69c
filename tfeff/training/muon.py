"""The Muon optimizer for convolutional networks."""

import keras
from keras import ops

ADAM_RATE = 0.3
"""Learning rate of AdamW's variables / learning rate of Muon's."""


class ConvolutionMuon(keras.optimizers.Muon):
    """Muon (K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) on convolution kernels.

    A kernel [h, w, in, out] is treated as a matrix [h * w * in, out], whose momentum is orthogonalized before each
    step. Steps are scaled as in arXiv:2502.16982, section 2.2, so learning rate and weight decay are of the same size
    as AdamW's. AdamW updates everything else (depthwise kernels, which mix no channels; the classifier; normalization;
    biases), with the learning rate times ADAM_RATE. Keras' Muon leaves all convolution kernels to AdamW.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) != 4 or variable.shape[-1] == 1

    def _muon_update_step(
        self, gradient: keras.KerasTensor, variable: keras.Variable, lr: keras.KerasTensor, m: keras.Variable
    ) -> None:
        self.assign_add(m, gradient + m * (self.momentum - 1))
        step = gradient + self.momentum * m if self.nesterov else m
        matrix = ops.reshape(step, (-1, variable.shape[-1]))
        matrix = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(matrix, variable.shape))

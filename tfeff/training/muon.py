"""Muon for networks of convolutions."""

import keras
from keras import ops

ADAM_RATE = 0.3
"""Learning rate of the variables that Adam updates, over that of the others."""


class ConvolutionMuon(keras.optimizers.Muon):
    """Muon (K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) on convolution kernels.

    A kernel [h, w, in, out] is the matrix [h * w * in, out], whose momentum is made orthogonal before each step; steps
    are scaled as in arXiv:2502.16982, section 2.2, so that rates and decays are of AdamW's size. Everything else
    (depthwise kernels, which mix no channels, the classifier, normalisation, biases) is AdamW's, at ADAM_RATE of the
    rate. Keras' own Muon leaves all kernels of more than two dimensions to AdamW.
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

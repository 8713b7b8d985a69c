"""Where TensorFlow runs the operators of a layer."""


def has_gpu() -> bool:
    """Returns whether TensorFlow has a GPU."""
    import tensorflow as tf

    return bool(tf.config.get_visible_devices("GPU"))


def compiles_with_xla() -> bool:
    """Returns whether the current graph is compiled with XLA."""
    import tensorflow as tf
    from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext  # there is no public equivalent

    return not tf.executing_eagerly() and GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())

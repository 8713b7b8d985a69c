from tests.evaluation.conftest import make_case, make_detections, make_objects

__all__ = ["make_case", "make_detections", "make_objects"]

"""Find every face in a folder of photos and write one tidy table of ages and genders.

`__init__.pyi` beside this file says what is public and where it is defined. Names are loaded when
first used, so that `import batchage` is cheap.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

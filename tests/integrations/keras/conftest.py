"""The tests in `inside/` import Keras on torch, which a process with other tests must not: `test_inside.py` runs them
in processes of their own. One of them: `INSIDE_KERAS=1 pytest tests/integrations/keras/inside/models.py -k lstm`.
"""

import os

collect_ignore = [] if os.environ.get("INSIDE_KERAS") else ["inside"]

class KBodyField: pass

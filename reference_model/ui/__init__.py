"""The page in the browser: three pictures in, b' out (`lorweb-bench ui`, and a Space)."""

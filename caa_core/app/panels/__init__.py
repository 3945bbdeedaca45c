"""The page: one file a tab. The only rooms beside app.py that import gradio."""

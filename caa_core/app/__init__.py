"""The page: who is here, the one worker that owns the model, endpoints, and panels, which alone import gradio."""

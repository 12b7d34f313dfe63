"""The login form: a name and its password, or the admin token alone."""

from typing import Any

from django import forms
from django.contrib.auth.models import AbstractBaseUser
from unfold.forms import AuthenticationForm

from gateway import staff


class LoginForm(AuthenticationForm):
    """Without a name the second field holds the admin token."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name, secret = self.fields["username"], self.fields["password"]
        name.required = False
        name.label = "User name (leave empty for the admin token)"
        name.widget.attrs.pop("autofocus", None)
        secret.label = "Password or admin token"
        secret.strip = True
        secret.widget.attrs["autocomplete"] = "current-password"

    def clean(self) -> dict[str, Any]:
        username, secret = self.cleaned_data.get("username") or "", self.cleaned_data.get("password") or ""
        if secret:
            try:
                self.user_cache: AbstractBaseUser = staff.log_in(
                    request=self.request, username=username, secret=secret
                )
            except staff.LoginRefusedError as refused:
                self.is_limited = refused.is_limited
                raise forms.ValidationError(str(refused)) from refused
        cleaned: dict[str, Any] = self.cleaned_data
        return cleaned

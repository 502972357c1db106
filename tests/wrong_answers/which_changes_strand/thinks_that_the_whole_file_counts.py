# says: a comment above checkout_workflow: you said True
answer = {
    "a comment inside checkout_workflow": True,
    "a comment above checkout_workflow": True,
    "another result of look_up_customer": True,
    "a step put in between": True,
    "another workflow in the file": True,
}

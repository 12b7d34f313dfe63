"""Which emoji names may a reaction have, and which sign does the page show for them?"""

_TABLE = """
eyes 👀|white_check_mark ✅|x ❌|octagonal_sign 🛑|stop_sign 🛑|repeat 🔁|pushpin 📌|round_pushpin 📍|hourglass ⌛
hourglass_flowing_sand ⏳|warning ⚠️|robot 🤖|thumbsup 👍|+1 👍|thumbsdown 👎|-1 👎|ok_hand 👌|clap 👏|wave 👋|pray 🙏|muscle 💪
smile 😄|smiley 😃|grinning 😀|grin 😁|laughing 😆|joy 😂|rofl 🤣|wink 😉|blush 😊|heart_eyes 😍|thinking 🤔|neutral_face 😐
confused 😕|cry 😢|sob 😭|angry 😠|rage 😡|scream 😱|sleeping 😴|sunglasses 😎|tada 🎉|fire 🔥|rocket 🚀|star ⭐|sparkles ✨|zap ⚡
heart ❤️|broken_heart 💔|100 💯|question ❓|grey_question ❔|exclamation ❗|bangbang ‼️|heavy_check_mark ✔️|ballot_box_with_check ☑️
heavy_multiplication_x ✖️|no_entry ⛔|no_entry_sign 🚫|raised_hand ✋|hand_splayed 🖐️|point_up ☝️|point_right 👉|point_left 👈
bulb 💡|mag 🔍|mag_right 🔎|bug 🐛|wrench 🔧|hammer 🔨|gear ⚙️|lock 🔒|unlock 🔓|key 🔑|memo 📝|pencil 📝|pencil2 ✏️|book 📖|books 📚
bookmark 🔖|paperclip 📎|link 🔗|clipboard 📋|calendar 📆|clock1 🕐|alarm_clock ⏰|stopwatch ⏱️|timer ⏲️|bell 🔔|no_bell 🔕
loudspeaker 📢|speech_balloon 💬|thought_balloon 💭|email 📧|envelope ✉️|package 📦|computer 💻|floppy_disk 💾|cd 💿|battery 🔋
electric_plug 🔌|satellite 📡|globe_with_meridians 🌐|chart_with_upwards_trend 📈|chart_with_downwards_trend 📉|bar_chart 📊
money_bag 💰|moneybag 💰|dollar 💵|gem 💎|trophy 🏆|medal 🏅|dart 🎯|game_die 🎲|art 🎨|construction 🚧|rotating_light 🚨
checkered_flag 🏁|triangular_flag_on_post 🚩|white_flag 🏳️|arrow_up ⬆️|arrow_down ⬇️|arrow_left ⬅️|arrow_right ➡️
arrows_counterclockwise 🔄|arrows_clockwise 🔃|rewind ⏪|fast_forward ⏩|arrow_forward ▶️|pause_button ⏸️|stop_button ⏹️
record_button ⏺️|heavy_plus_sign ➕|heavy_minus_sign ➖|red_circle 🔴|yellow_circle 🟡|green_circle 🟢|large_blue_circle 🔵
white_circle ⚪|black_circle ⚫|one 1️⃣|two 2️⃣|three 3️⃣|four 4️⃣|five 5️⃣|up 🆙|new 🆕|free 🆓|ok 🆗|cool 🆒|sos 🆘|recycle ♻️
infinity ♾️|seedling 🌱|deciduous_tree 🌳|cat 🐱|dog 🐶|turtle 🐢|snail 🐌|unicorn 🦄|ghost 👻|skull 💀|alien 👽|coffee ☕|beer 🍺|pizza 🍕
brain 🧠|scroll 📜|broom 🧹|test_tube 🧪|microscope 🔬|shield 🛡️|crossed_fingers 🤞|handshake 🤝|shrug 🤷|facepalm 🤦|see_no_evil 🙈
"""

EMOJI: dict[str, str] = {
    name: sign
    for entry in _TABLE.replace("\n", "|").split("|")
    if entry.strip()
    for name, _, sign in [entry.strip().partition(" ")]
}


def is_known(shortcode: str) -> bool:
    """Takes `:name:`."""
    return shortcode.strip(":") in EMOJI
